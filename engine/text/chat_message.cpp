#include "engine/text/chat_message.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/python_json.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::Status Error(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(where + ": " + what);
}

absl::Status Expected(const std::string& where, const char* expected, const Json& found) {
  return Error(where, absl::StrCat("expected ", expected, ", found ", found.type_name()));
}

const Json* FindNonNull(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// "" if the key is missing or null.
absl::StatusOr<std::string> OptionalText(const Json& object, const char* key,
                                         const std::string& where) {
  const Json* value = FindNonNull(object, key);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return Expected(where + "." + key, "a string", *value);
  return value->get<std::string>();
}

absl::StatusOr<std::string> RequiredText(const Json& object, const char* key,
                                         const std::string& where) {
  TANDEM_ASSIGN_OR_RETURN(std::string text, OptionalText(object, key, where));
  if (text.empty()) return Error(where + "." + key, "missing or empty");
  return text;
}

absl::StatusOr<ContentPart> ParsePart(const Json& part, const std::string& where) {
  if (!part.is_object()) return Expected(where, "an object", part);
  TANDEM_ASSIGN_OR_RETURN(const std::string type, RequiredText(part, "type", where));
  if (type == "image" || type == "image_url") return ContentPart{ContentPart::Kind::kImage, ""};
  if (type == "video" || type == "video_url") return ContentPart{ContentPart::Kind::kVideo, ""};
  if (FindNonNull(part, "text") == nullptr)
    return Error(
        where, type == "text" ? "text is missing" : "unknown type \"" + type + "\" without a text");
  TANDEM_ASSIGN_OR_RETURN(std::string text, OptionalText(part, "text", where));
  return ContentPart{ContentPart::Kind::kText, std::move(text)};
}

absl::StatusOr<std::vector<ContentPart>> ParseContent(const Json& message,
                                                      const std::string& where) {
  std::vector<ContentPart> parts;
  const Json* content = FindNonNull(message, "content");
  if (content == nullptr) return parts;
  if (content->is_string()) {
    if (!content->get_ref<const std::string&>().empty())
      parts.push_back({ContentPart::Kind::kText, content->get<std::string>()});
    return parts;
  }
  if (!content->is_array())
    return Expected(where + ".content", "a string or a list of parts", *content);
  for (size_t i = 0; i < content->size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(ContentPart part,
                            ParsePart((*content)[i], absl::StrCat(where, ".content[", i, "]")));
    if (part.kind != ContentPart::Kind::kText || !part.text.empty())
      parts.push_back(std::move(part));
  }
  return parts;
}

// Text stands in the prompt as it is, an object as Python prints it; missing means none.
absl::StatusOr<std::string> ParseArguments(const Json& function, const std::string& where) {
  const Json* arguments = FindNonNull(function, "arguments");
  if (arguments == nullptr) return std::string("{}");
  if (arguments->is_string()) return arguments->get<std::string>();
  if (!arguments->is_object()) return Expected(where, "a string or an object", *arguments);
  TANDEM_RETURN_IF_ERROR(CheckPrintable(*arguments, where));
  return DumpSpaced(*arguments);
}

absl::StatusOr<ChatToolCall> ParseToolCall(const Json& call, const std::string& where) {
  if (!call.is_object()) return Expected(where, "an object", call);
  ChatToolCall parsed;
  TANDEM_ASSIGN_OR_RETURN(parsed.id, RequiredText(call, "id", where));
  const Json* function = FindNonNull(call, "function");
  if (function == nullptr) return Error(where + ".function", "missing");
  if (!function->is_object()) return Expected(where + ".function", "an object", *function);
  TANDEM_ASSIGN_OR_RETURN(parsed.name, OptionalText(*function, "name", where + ".function"));
  TANDEM_ASSIGN_OR_RETURN(parsed.arguments,
                          ParseArguments(*function, where + ".function.arguments"));
  return parsed;
}

absl::Status ParseToolCalls(const Json& message, const std::string& where, ChatMessage& parsed) {
  const Json* calls = FindNonNull(message, "tool_calls");
  if (calls == nullptr) return absl::OkStatus();
  const std::string calls_where = where + ".tool_calls";
  if (!calls->is_array()) return Expected(calls_where, "a list", *calls);
  if (calls->empty()) return absl::OkStatus();
  if (!parsed.IsAssistant()) return Error(calls_where, "only the assistant calls tools");
  for (size_t i = 0; i < calls->size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(ChatToolCall call,
                            ParseToolCall((*calls)[i], absl::StrCat(calls_where, "[", i, "]")));
    parsed.tool_calls.push_back(std::move(call));
  }
  return absl::OkStatus();
}

absl::Status ParsePartial(const Json& message, const std::string& where, bool is_last,
                          ChatMessage& parsed) {
  const Json* partial = FindNonNull(message, "partial");
  if (partial == nullptr) return absl::OkStatus();
  if (!partial->is_boolean()) return Expected(where + ".partial", "true or false", *partial);
  parsed.partial = partial->get<bool>();
  if (!parsed.partial) return absl::OkStatus();
  if (!is_last || !parsed.IsAssistant())
    return Error(where + ".partial", "only a last message of the assistant can be continued");
  if (!parsed.tool_calls.empty())
    return Error(where + ".partial", "a message with tool calls cannot be continued");
  return absl::OkStatus();
}

absl::StatusOr<ChatMessage> ParseMessage(const Json& message, const std::string& where,
                                         bool is_last) {
  if (!message.is_object()) return Expected(where, "an object", message);
  ChatMessage parsed;
  TANDEM_ASSIGN_OR_RETURN(parsed.role, RequiredText(message, "role", where));
  TANDEM_ASSIGN_OR_RETURN(parsed.name, OptionalText(message, "name", where));
  TANDEM_ASSIGN_OR_RETURN(parsed.content, ParseContent(message, where));
  // `reasoning` wins even when it is empty.
  const char* reasoning_key = FindNonNull(message, "reasoning") ? "reasoning" : "reasoning_content";
  TANDEM_ASSIGN_OR_RETURN(parsed.reasoning, OptionalText(message, reasoning_key, where));
  if (parsed.role == "tool") {
    TANDEM_ASSIGN_OR_RETURN(parsed.tool_call_id, RequiredText(message, "tool_call_id", where));
  }
  TANDEM_RETURN_IF_ERROR(ParseToolCalls(message, where, parsed));
  TANDEM_RETURN_IF_ERROR(ParsePartial(message, where, is_last, parsed));
  return parsed;
}

}  // namespace

absl::StatusOr<std::vector<ChatMessage>> ParseMessages(const Json& messages) {
  if (!messages.is_array()) return Expected("messages", "a list", messages);
  std::vector<ChatMessage> parsed;
  for (size_t i = 0; i < messages.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(ChatMessage message,
                            ParseMessage(messages[i], absl::StrCat("messages[", i, "]"),
                                         /*is_last=*/i + 1 == messages.size()));
    parsed.push_back(std::move(message));
  }
  return parsed;
}

}  // namespace tandem
