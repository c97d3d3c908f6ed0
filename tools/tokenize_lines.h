// The work of `tandem tokenize`: JSON lines in, JSON lines out.
#pragma once

#include <iosfwd>
#include <string>

#include "engine/text/chat_format.h"
#include "engine/text/tokenizer.h"

namespace tandem {

struct TokenizeLinesOptions {
  bool chat = false;           // lines are chat cases, not texts
  bool parse_special = false;  // text of control tokens becomes control tokens
  ChatStyle style = ChatStyle::kK26;
};

// Per input line {"text"}, or with `chat` {"messages", "tools", "thinking", "preserve_thinking",
// "add_generation_prompt"}, one output line {"text", "ids"}. Empty lines are skipped. A bad line
// gives "line N: what" on `errors` and no output; the others are still processed. Returns the
// number of bad lines.
int TokenizeLines(const Tokenizer& tokenizer, const TokenizeLinesOptions& options, std::istream& in,
                  std::ostream& out, std::ostream& errors);

// The chat format of a model folder, by config.json if there is one, else by its control tokens.
absl::StatusOr<ChatStyle> ChatStyleOfFolder(const std::string& dir, const Tokenizer& tokenizer);

}  // namespace tandem
