// Files of prompts, one a line: what `tandem profile record` lets a model read and answer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/text/chat_format.h"
#include "engine/text/tokenizer.h"

namespace tandem {

struct Prompt {
  std::vector<int32_t> ids;
  std::string label;  // "" if the line has none
};

// A file named *.txt holds texts; any other holds JSON objects with one of "ids" (numbers), "text",
// or "messages" (a conversation, rendered as `style` has it, "tools" with it), and perhaps "label".
// Empty lines are skipped. Errors: NOT_FOUND; INVALID_ARGUMENT naming file, line and what is wrong
// (also a file without prompts).
absl::StatusOr<std::vector<Prompt>> ReadPrompts(const std::string& path, const Tokenizer& tokenizer,
                                                ChatStyle style);

}  // namespace tandem
