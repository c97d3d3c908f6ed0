// What of a chat completion makes its prompt.
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/openai_fields.h"
#include "service/api/request_parts.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::Status TooMany(const std::string& where, size_t entries, int32_t limit) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, " has ", entries, " entries; expected at most ", limit));
}

// What RenderChat() does not check: sizes, and what this server cannot read.
absl::Status CheckContent(const Json& content, const std::string& where, const Limits& limits) {
  if (!content.is_array()) return absl::OkStatus();
  if (content.size() > static_cast<size_t>(limits.max_parts))
    return TooMany(where, content.size(), limits.max_parts);
  for (size_t i = 0; i < content.size(); ++i) {
    JsonFields part(content[i], EntryOf(where, i));
    const std::string type = part.Text("type");
    if (type.empty() || type == "text") continue;
    part.Fail("type", "\"text\" (this server reads text only)");
    return part.Done();
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> MessageOf(Json message, const std::string& where, const Limits& limits) {
  JsonFields fields(message, where);
  const Json* content = fields.Optional("content");
  const Json* calls = fields.OptionalList("tool_calls", limits.max_tool_calls);
  fields.Refuse("function_call", "use tool_calls");
  fields.Refuse("audio", "this server reads text only");
  fields.IgnoreRest();
  TANDEM_RETURN_IF_ERROR(fields.Done());
  if (content != nullptr)
    TANDEM_RETURN_IF_ERROR(CheckContent(*content, fields.Where("content"), limits));
  for (size_t i = 0; calls != nullptr && i < calls->size(); ++i) {
    JsonFields call((*calls)[i], EntryOf(fields.Where("tool_calls"), i));
    if (call.OptionalText("type").value_or("function") == "custom")
      call.Fail("type", "\"function\"");
    call.IgnoreRest();
    TANDEM_RETURN_IF_ERROR(call.Done());
  }
  const auto role = message.find("role");
  if (role != message.end() && *role == "developer") *role = "system";
  return message;
}

absl::StatusOr<Json> MessagesOf(const Json& messages, const Limits& limits) {
  if (!messages.is_array() || messages.empty())
    return absl::InvalidArgumentError("messages is no list of messages; expected one at least");
  if (messages.size() > static_cast<size_t>(limits.max_messages))
    return TooMany("messages", messages.size(), limits.max_messages);
  Json converted = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(Json message, MessageOf(messages[i], EntryOf("messages", i), limits));
    converted.push_back(std::move(message));
  }
  return converted;
}

absl::StatusOr<Json> ToolOf(const Json& tool, const std::string& where) {
  JsonFields fields(tool, where);
  if (fields.Text("type") != "function") fields.Fail("type", "\"function\"");
  const Json* function = fields.OptionalObject("function");
  if (function == nullptr) fields.Fail("function", "an object");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  JsonFields read(*function, fields.Where("function"));
  if (read.Text("name").empty()) read.Fail("name", "the function's name");
  read.OptionalText("description");
  read.OptionalObject("parameters");
  read.Bool("strict", false);
  TANDEM_RETURN_IF_ERROR(read.Done());
  return tool;
}

void ReadKwargs(JsonFields& fields, ChatOptions& options) {
  const Json* kwargs = fields.OptionalObject("chat_template_kwargs");
  if (kwargs == nullptr) return;
  JsonFields read(*kwargs, "chat_template_kwargs");
  options.thinking = read.Bool("enable_thinking", options.thinking);
  options.thinking = read.Bool("thinking", options.thinking);
  options.preserve_thinking = read.Bool("preserve_thinking", false);
  fields.Keep(read.Done());
}

// The most specific wins: thinking, then chat_template_kwargs, then reasoning_effort.
void ReadThinking(JsonFields& fields, ChatOptions& options) {
  if (fields.Optional("reasoning_effort") != nullptr) {
    options.thinking = fields.OneOf("reasoning_effort", {"none", "minimal", "low", "medium", "high",
                                                         "xhigh", "max"}) != "none";
  }
  ReadKwargs(fields, options);
  const Json* thinking = fields.OptionalObject("thinking");
  if (thinking == nullptr) return;
  JsonFields read(*thinking, "thinking");
  options.thinking = read.OneOf("type", {"enabled", "disabled"}) == "enabled";
  if (read.Optional("keep") != nullptr)
    options.preserve_thinking = read.OneOf("keep", {"all"}) == "all";
  fields.Keep(read.Done());
}

}  // namespace

absl::StatusOr<ChatPrompt> ReadChatPrompt(JsonFields& fields, const OpenAiParseArgs& args) {
  ChatPrompt prompt;
  prompt.options.thinking = args.thinking_default;
  ReadThinking(fields, prompt.options);
  prompt.options.add_generation_prompt = fields.Bool("add_generation_prompt", true);
  const bool goes_on = fields.Bool("continue_final_message", false);
  const Json* tools = fields.OptionalList("tools", args.limits.max_tools);
  const Json& messages = fields.Required("messages");
  fields.Refuse("chat_template", "templates are not taken from requests");
  fields.Refuse("documents", "put them into the messages");
  TANDEM_ASSIGN_OR_RETURN(prompt.messages, MessagesOf(messages, args.limits));
  TANDEM_ASSIGN_OR_RETURN(prompt.tools, ConvertTools(tools, args.limits, ToolOf));
  if (goes_on) prompt.messages.back()["partial"] = true;
  return prompt;
}

absl::StatusOr<ChatPrompt> ParseChatPrompt(const Json& body, const OpenAiParseArgs& args) {
  JsonFields fields(body, "");
  auto prompt = ReadChatPrompt(fields, args);
  fields.IgnoreRest();
  TANDEM_RETURN_IF_ERROR(fields.Done());
  return prompt;
}

}  // namespace tandem
