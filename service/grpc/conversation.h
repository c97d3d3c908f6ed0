// A conversation of the wire as the OpenAI-style JSON that engine/text/chat_format.h renders.
#pragma once

#include "core/status.h"
#include "service/api/chat_call.h"
#include "service/limits.h"
#include "tandem/v1/chat.pb.h"

namespace tandem {

// Errors: INVALID_ARGUMENT naming message index and field.
absl::StatusOr<ChatPrompt> ToPrompt(const v1::Conversation& conversation, const Limits& limits);

}  // namespace tandem
