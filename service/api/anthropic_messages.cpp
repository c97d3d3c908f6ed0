#include "service/api/anthropic_messages.h"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/json_fields.h"
#include "service/api/request_parts.h"
#include "service/api/sealed_reasoning.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::Status OtherBlock(const std::string& where, const std::string& type, const char* expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, ".type is \"", type, "\"; expected ", expected,
                   type == "image" || type == "document" ? " (this server reads text only)" : ""));
}

absl::StatusOr<std::string> TextOf(JsonFields& block) {
  std::string text = block.Text("text");
  block.Ignore({"type", "cache_control", "citations"});
  TANDEM_RETURN_IF_ERROR(block.Done());
  return text;
}

// A string, or a list of text blocks.
absl::StatusOr<std::vector<std::string>> Texts(const Json& content, const std::string& where,
                                               const Limits& limits) {
  if (content.is_string()) return std::vector<std::string>{content.get<std::string>()};
  if (!content.is_array())
    return absl::InvalidArgumentError(
        absl::StrCat(where, " is no text; expected a string or a list of text blocks"));
  if (content.size() > static_cast<size_t>(limits.max_parts))
    return absl::InvalidArgumentError(absl::StrCat(where, " has ", content.size(),
                                                   " blocks; expected at most ", limits.max_parts));
  std::vector<std::string> texts;
  for (size_t i = 0; i < content.size(); ++i) {
    JsonFields block(content[i], EntryOf(where, i));
    const std::string type = block.Text("type");
    if (type != "text" && !type.empty()) return OtherBlock(EntryOf(where, i), type, "\"text\"");
    TANDEM_ASSIGN_OR_RETURN(std::string text, TextOf(block));
    texts.push_back(std::move(text));
  }
  return texts;
}

// As clients of the OpenAI form write it: none, one, or several parts, which the template puts
// together without anything between them.
Json ContentOf(std::vector<std::string> texts) {
  if (texts.empty()) return nullptr;
  if (texts.size() == 1) return std::move(texts.front());
  Json parts = Json::array();
  for (std::string& text : texts) parts.push_back({{"type", "text"}, {"text", std::move(text)}});
  return parts;
}

std::string Paragraphs(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) absl::StrAppend(&all, all.empty() ? "" : "\n\n", text);
  return all;
}

class Conversation {
 public:
  explicit Conversation(const AnthropicParseArgs& args) : args_(args) {}

  absl::Status AddSystem(const Json& content, const std::string& where);
  absl::Status AddMessage(const Json& message, const std::string& where);
  absl::StatusOr<Json> Finish() &&;

 private:
  absl::Status AddUser(const Json& content, const std::string& where);
  absl::Status AddAssistant(const Json& content, const std::string& where);
  absl::Status AddToolResult(JsonFields& block, const std::string& where);
  absl::StatusOr<Json> ToolCall(JsonFields& block, const std::string& where);
  absl::StatusOr<const Json*> Blocks(const Json& content, const std::string& where);

  const AnthropicParseArgs& args_;
  Json messages_ = Json::array();
  std::unordered_map<std::string, std::string> native_ids_;  // by the ids that the client knows
};

absl::Status Conversation::AddSystem(const Json& content, const std::string& where) {
  TANDEM_ASSIGN_OR_RETURN(const auto texts, Texts(content, where, args_.limits));
  if (!texts.empty()) messages_.push_back({{"role", "system"}, {"content", Paragraphs(texts)}});
  return absl::OkStatus();
}

absl::StatusOr<const Json*> Conversation::Blocks(const Json& content, const std::string& where) {
  if (!content.is_array())
    return absl::InvalidArgumentError(
        absl::StrCat(where, " is no content; expected a string or a list of blocks"));
  if (content.size() > static_cast<size_t>(args_.limits.max_parts))
    return absl::InvalidArgumentError(absl::StrCat(
        where, " has ", content.size(), " blocks; expected at most ", args_.limits.max_parts));
  return &content;
}

absl::Status Conversation::AddToolResult(JsonFields& block, const std::string& where) {
  const std::string id = block.Text("tool_use_id");
  const Json* content = block.Optional("content");
  block.Ignore({"type", "cache_control", "is_error", "toolset_name"});
  TANDEM_RETURN_IF_ERROR(block.Done());
  const auto native = native_ids_.find(id);
  if (native == native_ids_.end()) {
    block.Fail("tool_use_id", "the id of an earlier tool_use block");
    return block.Done();
  }
  std::vector<std::string> texts;
  if (content != nullptr) {
    TANDEM_ASSIGN_OR_RETURN(texts, Texts(*content, where + ".content", args_.limits));
  }
  messages_.push_back({{"role", "tool"},
                       {"tool_call_id", native->second},
                       {"content", ContentOf(std::move(texts))}});
  return absl::OkStatus();
}

absl::Status Conversation::AddUser(const Json& content, const std::string& where) {
  if (content.is_string()) {
    messages_.push_back({{"role", "user"}, {"content", content}});
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(const Json* blocks, Blocks(content, where));
  std::vector<std::string> texts;
  bool has_results = false;
  for (size_t i = 0; i < blocks->size(); ++i) {
    const std::string here = EntryOf(where, i);
    JsonFields block((*blocks)[i], here);
    const std::string type = block.Text("type");
    if (type == "tool_result") {
      TANDEM_RETURN_IF_ERROR(AddToolResult(block, here));
      has_results = true;
    } else if (type == "text" || type.empty()) {
      TANDEM_ASSIGN_OR_RETURN(std::string text, TextOf(block));
      texts.push_back(std::move(text));
    } else {
      return OtherBlock(here, type, "\"text\" or \"tool_result\"");
    }
  }
  if (texts.empty() && has_results) return absl::OkStatus();
  messages_.push_back({{"role", "user"}, {"content", ContentOf(std::move(texts))}});
  return absl::OkStatus();
}

absl::StatusOr<Json> Conversation::ToolCall(JsonFields& block, const std::string& where) {
  const std::string id = block.Text("id"), name = block.Text("name");
  const Json& input = block.Required("input");
  block.Ignore({"type", "cache_control", "caller", "toolset_name"});
  TANDEM_RETURN_IF_ERROR(block.Done());
  if (id.empty() || name.empty() || !input.is_object()) {
    block.Fail(id.empty()     ? "id"
               : name.empty() ? "name"
                              : "input",
               "what the answer's tool_use block had there");
    return block.Done();
  }
  const std::string native = NativeCallIdOf(id, name);
  native_ids_[id] = native;
  Json arguments = input;
  if (auto text = args_.memory.Recall(args_.caller, id, input)) arguments = *std::move(text);
  return Json{{"id", native},
              {"type", "function"},
              {"function", {{"name", name}, {"arguments", std::move(arguments)}}}};
}

// What the client was shown, or what it was given to bring back.
absl::StatusOr<std::string> ThinkingOf(JsonFields& block) {
  std::string thinking = block.Text("thinking");
  const std::string signature = block.OptionalText("signature").value_or("");
  block.Ignore({"type", "cache_control"});
  TANDEM_RETURN_IF_ERROR(block.Done());
  if (!thinking.empty()) return thinking;
  return OpenReasoning(signature).value_or("");
}

absl::Status Conversation::AddAssistant(const Json& content, const std::string& where) {
  if (content.is_string()) {
    messages_.push_back({{"role", "assistant"}, {"content", content}});
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(const Json* blocks, Blocks(content, where));
  std::vector<std::string> texts;
  std::string reasoning;
  Json calls = Json::array();
  for (size_t i = 0; i < blocks->size(); ++i) {
    const std::string here = EntryOf(where, i);
    JsonFields block((*blocks)[i], here);
    const std::string type = block.Text("type");
    if (type == "thinking") {
      TANDEM_ASSIGN_OR_RETURN(const std::string thinking, ThinkingOf(block));
      reasoning += thinking;
    } else if (type == "tool_use") {
      TANDEM_ASSIGN_OR_RETURN(Json call, ToolCall(block, here));
      calls.push_back(std::move(call));
    } else if (type == "text" || type.empty()) {
      TANDEM_ASSIGN_OR_RETURN(std::string text, TextOf(block));
      texts.push_back(std::move(text));
    } else if (type != "redacted_thinking") {  // another model's secret
      return OtherBlock(here, type, "\"text\", \"thinking\" or \"tool_use\"");
    }
  }
  if (calls.size() > static_cast<size_t>(args_.limits.max_tool_calls))
    return absl::InvalidArgumentError(absl::StrCat(where, " has ", calls.size(),
                                                   " tool_use blocks; expected at most ",
                                                   args_.limits.max_tool_calls));
  Json message = {{"role", "assistant"}, {"content", ContentOf(std::move(texts))}};
  if (!reasoning.empty()) message["reasoning_content"] = std::move(reasoning);
  if (!calls.empty()) message["tool_calls"] = std::move(calls);
  messages_.push_back(std::move(message));
  return absl::OkStatus();
}

absl::Status Conversation::AddMessage(const Json& message, const std::string& where) {
  JsonFields fields(message, where);
  const std::string role = fields.Text("role");
  const Json& content = fields.Required("content");
  if (role != "user" && role != "assistant" && role != "system")
    fields.Fail("role", "\"user\", \"assistant\" or \"system\"");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  const std::string content_where = fields.Where("content");
  if (role == "system") return AddSystem(content, content_where);
  return role == "user" ? AddUser(content, content_where) : AddAssistant(content, content_where);
}

absl::StatusOr<Json> Conversation::Finish() && {
  if (messages_.empty()) return std::move(messages_);
  Json& last = messages_.back();
  if (last["role"] == "assistant" && !last.contains("tool_calls")) last["partial"] = true;
  return std::move(messages_);
}

absl::StatusOr<Json> ToolOf(const Json& tool, const std::string& where) {
  JsonFields fields(tool, where);
  const std::string type = fields.OptionalText("type").value_or("custom");
  if (type != "custom") {
    fields.Fail("type", "\"custom\": this server runs no tools of its own");
    return fields.Done();
  }
  const std::string name = fields.Text("name");
  if (name.empty()) fields.Fail("name", "the tool's name");
  const auto description = fields.OptionalText("description");
  const Json* schema = fields.OptionalObject("input_schema");
  if (schema == nullptr) fields.Fail("input_schema", "a JSON schema");
  const bool strict = fields.Bool("strict", false);
  fields.Refuse("defer_loading", "all tools are told to the model");
  fields.Ignore({"cache_control", "input_examples", "eager_input_streaming", "allowed_callers"});
  TANDEM_RETURN_IF_ERROR(fields.Done());
  Json function = {{"name", name}};
  if (description) function["description"] = *description;
  function["parameters"] = *schema;
  if (strict) function["strict"] = true;
  return Json{{"type", "function"}, {"function", std::move(function)}};
}

}  // namespace

absl::StatusOr<Json> ConvertAnthropicMessages(const Json* system, const Json& messages,
                                              const AnthropicParseArgs& args) {
  Conversation conversation(args);
  if (system != nullptr) TANDEM_RETURN_IF_ERROR(conversation.AddSystem(*system, "system"));
  if (!messages.is_array() || messages.empty())
    return absl::InvalidArgumentError("messages is empty; expected a list of at least one message");
  if (messages.size() > static_cast<size_t>(args.limits.max_messages))
    return absl::InvalidArgumentError(absl::StrCat(
        "messages has ", messages.size(), " entries; expected at most ", args.limits.max_messages));
  for (size_t i = 0; i < messages.size(); ++i)
    TANDEM_RETURN_IF_ERROR(conversation.AddMessage(messages[i], EntryOf("messages", i)));
  return std::move(conversation).Finish();
}

absl::StatusOr<Json> ConvertAnthropicTools(const Json* tools, const Limits& limits) {
  return ConvertTools(tools, limits, ToolOf);
}

}  // namespace tandem
