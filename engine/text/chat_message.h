// One message of a conversation, checked.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

struct ContentPart {
  enum class Kind { kText, kImage, kVideo };
  Kind kind = Kind::kText;
  std::string text;
};

struct ChatToolCall {
  std::string id;         // "functions.NAME:INDEX", if another server did not make up its own
  std::string name;       // of the function; "" if there is none
  std::string arguments;  // as it stands in the prompt
};

struct ChatMessage {
  std::string role;
  std::string name;                  // "" if there is none
  std::vector<ContentPart> content;  // without empty texts
  std::string reasoning;
  std::vector<ChatToolCall> tool_calls;  // of assistants only
  std::string tool_call_id;              // of tools only
  bool partial = false;                  // the last message, of the assistant, to be continued

  bool IsAssistant() const { return role == "assistant"; }
  // What stands between the role's tag and the text.
  const std::string& TurnName() const { return name.empty() ? role : name; }
};

// Errors: INVALID_ARGUMENT that begins with where it is, such as "messages[2].content[0].text".
absl::StatusOr<std::vector<ChatMessage>> ParseMessages(const nlohmann::ordered_json& messages);

}  // namespace tandem
