// A conversation of the wire as the OpenAI-style JSON that engine/text/chat_format.h renders.
#pragma once

#include <nlohmann/json.hpp>

#include "core/status.h"
#include "engine/text/chat_format.h"
#include "service/limits.h"
#include "tandem/v1/chat.pb.h"

namespace tandem {

struct ConversationJson {
  nlohmann::ordered_json messages;
  nlohmann::ordered_json tools;  // null if none
  ChatOptions options;
};

// Errors: INVALID_ARGUMENT naming message index and field.
absl::StatusOr<ConversationJson> ToJson(const v1::Conversation& conversation, const Limits& limits);

}  // namespace tandem
