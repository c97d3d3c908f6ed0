#include "tools/tokenize_lines.h"

#include <fstream>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::Status ReadFlag(const Json& line, const char* key, bool& flag) {
  const auto found = line.find(key);
  if (found == line.end() || found->is_null()) return absl::OkStatus();
  if (!found->is_boolean())
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": expected true or false, found ", found->type_name()));
  flag = found->get<bool>();
  return absl::OkStatus();
}

absl::StatusOr<RenderedChat> TokenizeChat(const Tokenizer& tokenizer,
                                          const TokenizeLinesOptions& options, const Json& line) {
  if (!line.contains("messages")) return absl::InvalidArgumentError("messages: missing");
  ChatOptions chat;
  chat.style = options.style;
  TANDEM_RETURN_IF_ERROR(ReadFlag(line, "thinking", chat.thinking));
  TANDEM_RETURN_IF_ERROR(ReadFlag(line, "preserve_thinking", chat.preserve_thinking));
  TANDEM_RETURN_IF_ERROR(ReadFlag(line, "add_generation_prompt", chat.add_generation_prompt));
  static const Json kNoTools;
  const Json& tools = line.contains("tools") ? line["tools"] : kNoTools;
  return RenderChat(tokenizer, line["messages"], tools, chat, options.parse_special);
}

absl::StatusOr<RenderedChat> TokenizeLine(const Tokenizer& tokenizer,
                                          const TokenizeLinesOptions& options,
                                          const std::string& text) {
  const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!line.is_object()) return absl::InvalidArgumentError("not a JSON object");
  if (options.chat) return TokenizeChat(tokenizer, options, line);
  const auto found = line.find("text");
  if (found == line.end()) return absl::InvalidArgumentError("text: missing");
  if (!found->is_string())
    return absl::InvalidArgumentError(
        absl::StrCat("text: expected a string, found ", found->type_name()));
  RenderedChat result{found->get<std::string>(), {}};
  result.ids = tokenizer.Encode(result.text, options.parse_special);
  return result;
}

}  // namespace

int TokenizeLines(const Tokenizer& tokenizer, const TokenizeLinesOptions& options, std::istream& in,
                  std::ostream& out, std::ostream& errors) {
  int line_number = 0, n_bad = 0;
  for (std::string line; std::getline(in, line);) {
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const absl::StatusOr<RenderedChat> result = TokenizeLine(tokenizer, options, line);
    if (!result.ok()) {
      errors << "line " << line_number << ": " << std::string(result.status().message()) << '\n';
      ++n_bad;
      continue;
    }
    out << Json{{"text", result->text}, {"ids", result->ids}}.dump() << '\n';
  }
  return n_bad;
}

absl::StatusOr<ChatStyle> ChatStyleOfFolder(const std::string& dir, const Tokenizer& tokenizer) {
  const std::string path = dir + "/config.json";
  std::ifstream file(path);
  if (!file) return ChatStyleFor("", tokenizer);
  const Json config = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || !config.contains("model_type") || !config["model_type"].is_string())
    return absl::InvalidArgumentError(path + ": expected a JSON object with a text model_type");
  return ChatStyleFor(config["model_type"].get<std::string>(), tokenizer);
}

}  // namespace tandem
