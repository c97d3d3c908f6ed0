#include "service/api/responses_items.h"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/api/json_fields.h"
#include "service/api/request_parts.h"
#include "service/api/sealed_reasoning.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<std::string> PartText(const Json& part, const std::string& where) {
  JsonFields fields(part, where);
  const std::string type = fields.Text("type");
  if (type != "input_text" && type != "output_text" && type != "text" && type != "refusal")
    fields.Fail("type", "\"input_text\" or \"output_text\": this server reads text only");
  std::string text = fields.Text(type == "refusal" ? "refusal" : "text");
  fields.Ignore({"annotations", "logprobs", "prompt_cache_breakpoint"});
  TANDEM_RETURN_IF_ERROR(fields.Done());
  return text;
}

// A string, or a list of text parts, in the form of the chat's messages.
absl::StatusOr<Json> ContentOf(const Json& content, const std::string& where,
                               const Limits& limits) {
  if (content.is_string()) return content;
  if (!content.is_array() || content.size() > static_cast<size_t>(limits.max_parts))
    return absl::InvalidArgumentError(absl::StrCat(
        where, " is no text; expected a string or a list of at most ", limits.max_parts, " parts"));
  Json parts = Json::array();
  for (size_t i = 0; i < content.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(std::string text, PartText(content[i], EntryOf(where, i)));
    parts.push_back({{"type", "text"}, {"text", std::move(text)}});
  }
  if (parts.empty()) return Json();
  return parts.size() == 1 ? Json(parts[0]["text"]) : parts;
}

absl::StatusOr<std::string> TextsOf(const Json* parts, const std::string& where, const char* type) {
  std::string all;
  for (size_t i = 0; parts != nullptr && i < parts->size(); ++i) {
    JsonFields fields((*parts)[i], EntryOf(where, i));
    fields.OneOf("type", {type});
    all += fields.Text("text");
    TANDEM_RETURN_IF_ERROR(fields.Done());
  }
  return all;
}

class Input {
 public:
  Input(const Limits& limits, Json& messages);
  absl::Status Add(const Json& item, const std::string& where);

 private:
  absl::Status AddMessage(JsonFields& fields);
  absl::Status AddReasoning(JsonFields& fields);
  absl::Status AddCall(JsonFields& fields);
  absl::Status AddOutput(JsonFields& fields);
  void Say(const char* role, Json content);
  Json& Assistant(std::initializer_list<const char*> not_yet);

  const Limits& limits_;
  Json& messages_;
  bool open_ = false;  // the last message is the assistant's, and these items' own
  std::unordered_set<std::string> call_ids_;
};

Input::Input(const Limits& limits, Json& messages) : limits_(limits), messages_(messages) {
  for (const Json& message : messages) {
    if (!message.contains("tool_calls")) continue;
    for (const Json& call : message["tool_calls"]) call_ids_.insert(call["id"].get<std::string>());
  }
}

void Input::Say(const char* role, Json content) {
  messages_.push_back({{"role", role}, {"content", std::move(content)}});
  open_ = false;
}

// The assistant's message that an item goes on, if it has none of these fields yet; else a new one.
Json& Input::Assistant(std::initializer_list<const char*> not_yet) {
  bool goes_on = open_;
  for (const char* field : not_yet) {
    const Json& last = messages_.empty() ? Json() : messages_.back();
    goes_on = goes_on && (!last.contains(field) || last[field].is_null());
  }
  if (!goes_on) Say("assistant", nullptr);
  open_ = true;
  return messages_.back();
}

absl::Status Input::AddMessage(JsonFields& fields) {
  const std::string role = fields.Text("role");
  const Json& content = fields.Required("content");
  fields.Ignore({"id", "status", "phase"});
  if (role != "user" && role != "assistant" && role != "system" && role != "developer")
    fields.Fail("role", "\"user\", \"assistant\", \"system\" or \"developer\"");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  TANDEM_ASSIGN_OR_RETURN(Json text, ContentOf(content, fields.Where("content"), limits_));
  if (role == "assistant") {
    Assistant({"content", "tool_calls"})["content"] = std::move(text);
  } else {
    Say(role == "user" ? "user" : "system", std::move(text));
  }
  return absl::OkStatus();
}

// The text itself, or what holds it sealed, or, of another model, its summary.
absl::Status Input::AddReasoning(JsonFields& fields) {
  const Json* content = fields.OptionalList("content", limits_.max_parts);
  const Json* summary = fields.OptionalList("summary", limits_.max_parts);
  const std::string sealed = fields.OptionalText("encrypted_content").value_or("");
  fields.Ignore({"id", "status"});
  TANDEM_RETURN_IF_ERROR(fields.Done());
  TANDEM_ASSIGN_OR_RETURN(std::string text,
                          TextsOf(content, fields.Where("content"), "reasoning_text"));
  TANDEM_ASSIGN_OR_RETURN(const std::string shortened,
                          TextsOf(summary, fields.Where("summary"), "summary_text"));
  if (text.empty()) text = OpenReasoning(sealed).value_or(shortened);
  if (text.empty()) return absl::OkStatus();
  Assistant({"reasoning_content", "content", "tool_calls"})["reasoning_content"] = std::move(text);
  return absl::OkStatus();
}

absl::Status Input::AddCall(JsonFields& fields) {
  const std::string id = fields.Text("call_id"), name = fields.Text("name");
  const std::string arguments = fields.Text("arguments");
  fields.Ignore({"id", "status", "caller", "namespace"});
  if (id.empty()) fields.Fail("call_id", "the id that the answer gave");
  if (name.empty()) fields.Fail("name", "the function's name");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  call_ids_.insert(id);
  Json& calls = Assistant({})["tool_calls"];
  calls.push_back(
      {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}});
  if (calls.size() > static_cast<size_t>(limits_.max_tool_calls))
    return absl::InvalidArgumentError(absl::StrCat("input holds more than ", limits_.max_tool_calls,
                                                   " function calls in one turn"));
  return absl::OkStatus();
}

absl::Status Input::AddOutput(JsonFields& fields) {
  const std::string id = fields.Text("call_id");
  const Json& output = fields.Required("output");
  fields.Ignore({"id", "status", "caller", "name", "namespace"});
  if (!call_ids_.contains(id)) fields.Fail("call_id", "that of an earlier function_call");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  TANDEM_ASSIGN_OR_RETURN(Json content, ContentOf(output, fields.Where("output"), limits_));
  Say("tool", std::move(content));
  messages_.back()["tool_call_id"] = id;
  return absl::OkStatus();
}

absl::Status Input::Add(const Json& item, const std::string& where) {
  JsonFields fields(item, where);
  const std::string type = fields.OptionalText("type").value_or("message");
  if (type == "message") return AddMessage(fields);
  if (type == "reasoning") return AddReasoning(fields);
  if (type == "function_call") return AddCall(fields);
  if (type == "function_call_output") return AddOutput(fields);
  fields.Fail("type", "\"message\", \"reasoning\", \"function_call\" or \"function_call_output\"");
  return fields.Done();
}

absl::StatusOr<Json> ToolOf(const Json& tool, const std::string& where) {
  JsonFields fields(tool, where);
  const std::string type = fields.Text("type");
  if (type != "function") {
    fields.Fail("type", "\"function\": this server runs no tools of its own");
    return fields.Done();
  }
  const std::string name = fields.Text("name");
  if (name.empty()) fields.Fail("name", "the function's name");
  const auto description = fields.OptionalText("description");
  const Json* parameters = fields.OptionalObject("parameters");
  const bool strict = fields.Bool("strict", false);
  fields.Refuse("defer_loading", "all tools are told to the model");
  fields.Ignore({"allowed_callers", "output_schema"});
  TANDEM_RETURN_IF_ERROR(fields.Done());
  Json function = {{"name", name}};
  if (description) function["description"] = *description;
  if (parameters != nullptr) function["parameters"] = *parameters;
  if (strict) function["strict"] = true;
  return Json{{"type", "function"}, {"function", std::move(function)}};
}

}  // namespace

absl::Status AddResponsesInput(const Json& input, const Limits& limits, Json& messages) {
  if (input.is_string()) {
    messages.push_back({{"role", "user"}, {"content", input}});
    return absl::OkStatus();
  }
  if (!input.is_array() || input.empty())
    return absl::InvalidArgumentError("input is empty; expected a string or a list of items");
  const size_t max_messages = limits.max_messages;
  if (input.size() + messages.size() > max_messages)
    return absl::InvalidArgumentError(absl::StrCat("input has ", input.size(), " items after ",
                                                   messages.size(), " messages; expected at most ",
                                                   max_messages, " together"));
  Input items(limits, messages);
  for (size_t i = 0; i < input.size(); ++i)
    TANDEM_RETURN_IF_ERROR(items.Add(input[i], EntryOf("input", i)));
  return absl::OkStatus();
}

absl::StatusOr<Json> ConvertResponsesTools(const Json* tools, const Limits& limits) {
  return ConvertTools(tools, limits, ToolOf);
}

}  // namespace tandem
