#include "service/grpc/conversation.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/bounded_json.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

const char* RoleName(v1::Role role) {
  switch (role) {
    case v1::ROLE_SYSTEM:
      return "system";
    case v1::ROLE_USER:
      return "user";
    case v1::ROLE_ASSISTANT:
      return "assistant";
    case v1::ROLE_TOOL:
      return "tool";
    default:
      return nullptr;
  }
}

absl::Status TooMany(const std::string& field, int got, int limit) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " has ", got, " entries; expected at most ", limit));
}

// One text part becomes a plain string, none becomes null: both render alike, and as clients of
// the JSON APIs write them.
Json ContentToJson(const v1::ChatMessage& message) {
  if (message.content().empty()) return nullptr;
  if (message.content_size() == 1) return message.content(0).text();
  Json parts = Json::array();
  for (const v1::ContentPart& part : message.content()) {
    parts.push_back({{"type", "text"}, {"text", part.text()}});
  }
  return parts;
}

absl::StatusOr<Json> ToolCallsToJson(const v1::ChatMessage& message, const std::string& where) {
  Json calls = Json::array();
  for (int i = 0; i < message.tool_calls_size(); ++i) {
    const v1::ToolCall& call = message.tool_calls(i);
    if (call.id().empty() || call.name().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".tool_calls[", i, "] has no ", call.id().empty() ? "id" : "name",
                       "; expected the id and name that the answer came with"));
    }
    calls.push_back({{"id", call.id()},
                     {"type", "function"},
                     {"function", {{"name", call.name()}, {"arguments", call.arguments()}}}});
  }
  return calls;
}

absl::Status CheckMessage(const v1::ChatMessage& message, const std::string& where,
                          const Limits& limits) {
  if (RoleName(message.role()) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".role is ", static_cast<int>(message.role()),
                     "; expected ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT or ROLE_TOOL"));
  }
  if (message.content_size() > limits.max_parts) {
    return TooMany(absl::StrCat(where, ".content"), message.content_size(), limits.max_parts);
  }
  for (int i = 0; i < message.content_size(); ++i) {
    if (!message.content(i).has_text()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".content[", i, "] is of no known kind; expected text"));
    }
  }
  if (message.tool_calls_size() > limits.max_tool_calls) {
    return TooMany(absl::StrCat(where, ".tool_calls"), message.tool_calls_size(),
                   limits.max_tool_calls);
  }
  const auto misplaced = [&](const char* field, v1::Role role) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".", field, " is set, but role is ",
                                                   RoleName(message.role()), "; expected role ",
                                                   RoleName(role)));
  };
  if (message.role() != v1::ROLE_ASSISTANT) {
    if (message.tool_calls_size() > 0) return misplaced("tool_calls", v1::ROLE_ASSISTANT);
    if (message.has_reasoning_content()) return misplaced("reasoning_content", v1::ROLE_ASSISTANT);
  }
  if (message.role() != v1::ROLE_TOOL && message.has_tool_call_id()) {
    return misplaced("tool_call_id", v1::ROLE_TOOL);
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> MessageToJson(const v1::ChatMessage& message, const std::string& where,
                                   const Limits& limits) {
  TANDEM_RETURN_IF_ERROR(CheckMessage(message, where, limits));
  Json json = {{"role", RoleName(message.role())}};
  if (message.has_name()) json["name"] = message.name();
  json["content"] = ContentToJson(message);
  if (message.has_reasoning_content()) json["reasoning_content"] = message.reasoning_content();
  if (message.has_tool_call_id()) json["tool_call_id"] = message.tool_call_id();
  if (message.tool_calls_size() > 0) {
    TANDEM_ASSIGN_OR_RETURN(json["tool_calls"], ToolCallsToJson(message, where));
  }
  return json;
}

absl::StatusOr<Json> ToolToJson(const v1::Tool& tool, const std::string& where,
                                const Limits& limits) {
  if (tool.name().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".name is empty; expected the function's name"));
  }
  Json function = {{"name", tool.name()}};
  if (tool.has_description()) function["description"] = tool.description();
  if (tool.has_parameters_json()) {
    auto parameters = ParseBoundedJson(tool.parameters_json(), limits, limits.max_tool_bytes);
    if (parameters.ok() && !parameters->is_object()) {
      parameters = absl::InvalidArgumentError("is not a JSON object; expected a JSON Schema");
    }
    if (!parameters.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".parameters_json ", parameters.status().message()));
    }
    function["parameters"] = *std::move(parameters);
  }
  if (tool.strict()) function["strict"] = true;
  return Json{{"type", "function"}, {"function", std::move(function)}};
}

}  // namespace

absl::StatusOr<ChatPrompt> ToPrompt(const v1::Conversation& conversation, const Limits& limits) {
  if (conversation.messages().empty()) {
    return absl::InvalidArgumentError(
        "conversation.messages is empty; expected at least one message");
  }
  if (conversation.messages_size() > limits.max_messages) {
    return TooMany("conversation.messages", conversation.messages_size(), limits.max_messages);
  }
  if (conversation.tools_size() > limits.max_tools) {
    return TooMany("conversation.tools", conversation.tools_size(), limits.max_tools);
  }
  ChatPrompt result;
  result.messages = Json::array();
  for (int i = 0; i < conversation.messages_size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(Json message,
                            MessageToJson(conversation.messages(i),
                                          absl::StrCat("conversation.messages[", i, "]"), limits));
    result.messages.push_back(std::move(message));
  }
  for (int i = 0; i < conversation.tools_size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(
        Json tool,
        ToolToJson(conversation.tools(i), absl::StrCat("conversation.tools[", i, "]"), limits));
    result.tools.push_back(std::move(tool));
  }
  if (conversation.has_thinking()) result.options.thinking = conversation.thinking();
  result.options.preserve_thinking = conversation.preserve_thinking();
  return result;
}

}  // namespace tandem
