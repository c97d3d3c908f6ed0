// `tandem tokenize`: text or chat messages to rendered text and ids.
#include <iostream>
#include <memory>

#include "tools/command.h"
#include "tools/tokenize_lines.h"

namespace tandem {
namespace {

struct Options {
  std::string model;
  TokenizeLinesOptions lines;
};

int Tokenize(const Options& options) {
  const auto tokenizer = Tokenizer::Load(options.model);
  if (!tokenizer.ok()) return Fail(tokenizer.status());
  TokenizeLinesOptions lines = options.lines;
  if (lines.chat) {
    const absl::StatusOr<ChatStyle> style = ChatStyleOfFolder(options.model, **tokenizer);
    if (!style.ok()) return Fail(style.status());
    lines.style = *style;
  }
  std::ios::sync_with_stdio(false);
  const int n_bad = TokenizeLines(**tokenizer, lines, std::cin, std::cout, std::cerr);
  std::cout.flush();
  if (!std::cout) return Fail(absl::DataLossError("cannot write the output"));
  return n_bad > 0 ? 1 : 0;
}

}  // namespace

void AddTokenize(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.Add(
      "tokenize",
      "text or chat messages on stdin to rendered text and token ids, a JSON object a line",
      "  echo '{\"text\": \"Hello\"}' | tandem tokenize /models/kimi-k2.6\n"
      "  tandem tokenize /models/kimi-k2.6 --chat < conversations.jsonl");
  sub->add_option("MODEL", options->model, "model folder; a tokenizer alone is enough")->required();
  sub->add_flag("--chat", options->lines.chat,
                "lines are {\"messages\", \"tools\", \"thinking\", \"preserve_thinking\", "
                "\"add_generation_prompt\"}");
  sub->add_flag("--special", options->lines.parse_special,
                "text of control tokens becomes control tokens; only for text you trust");
  commands.OnRun(sub, [options] { return Tokenize(*options); });
}

}  // namespace tandem
