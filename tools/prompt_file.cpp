#include "tools/prompt_file.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<std::vector<int32_t>> Ids(const Json& json, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  if (!json.is_array()) return absl::InvalidArgumentError("\"ids\" is not an array");
  for (const Json& id : json) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() >= tokenizer.vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"ids\" holds ", id.dump(), "; expected 0 to ", tokenizer.vocab_size() - 1));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

absl::StatusOr<std::vector<int32_t>> PromptIds(const Json& json, const Tokenizer& tokenizer,
                                               ChatStyle style) {
  if (const auto ids = json.find("ids"); ids != json.end()) return Ids(*ids, tokenizer);
  if (const auto text = json.find("text"); text != json.end() && text->is_string())
    return tokenizer.Encode(text->get<std::string>(), /*parse_special=*/false);
  if (const auto messages = json.find("messages"); messages != json.end()) {
    const Json tools = json.contains("tools") ? json["tools"] : Json(nullptr);
    TANDEM_ASSIGN_OR_RETURN(RenderedChat chat,
                            RenderChat(tokenizer, *messages, tools, {.style = style}));
    return std::move(chat.ids);
  }
  return absl::InvalidArgumentError("neither \"ids\" nor \"text\" nor \"messages\"");
}

absl::StatusOr<Prompt> ParseLine(const std::string& line, const Tokenizer& tokenizer,
                                 ChatStyle style) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  Prompt prompt;
  TANDEM_ASSIGN_OR_RETURN(prompt.ids, PromptIds(json, tokenizer, style));
  if (const auto label = json.find("label"); label != json.end()) {
    if (!label->is_string()) return absl::InvalidArgumentError("\"label\" is not a string");
    prompt.label = label->get<std::string>();
  }
  return prompt;
}

}  // namespace

absl::StatusOr<std::vector<Prompt>> ReadPrompts(const std::string& path, const Tokenizer& tokenizer,
                                                ChatStyle style) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  const bool plain = path.ends_with(".txt");
  std::vector<Prompt> prompts;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    absl::StatusOr<Prompt> prompt =
        plain ? Prompt{tokenizer.Encode(line, /*parse_special=*/false), ""}
              : ParseLine(line, tokenizer, style);
    if (prompt.ok() && prompt->ids.empty()) prompt = absl::InvalidArgumentError("an empty prompt");
    if (!prompt.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", number, ": ", prompt.status().message()));
    }
    prompts.push_back(*std::move(prompt));
  }
  if (prompts.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": holds no prompts"));
  return prompts;
}

}  // namespace tandem
