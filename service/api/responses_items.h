// Items and tools of OpenAI's Responses in the form that RenderChat() takes.
//
// A reasoning item, a message of the assistant and function calls that follow each other in this
// order are one message of the assistant, as the model wrote them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/status.h"
#include "service/limits.h"

namespace tandem {

// Adds `input`, a string or a list of items, to `messages`, which hold the conversation so far.
// Errors: INVALID_ARGUMENT that begins with the field.
absl::Status AddResponsesInput(const nlohmann::ordered_json& input, const Limits& limits,
                               nlohmann::ordered_json& messages);

// Null if there are none.
absl::StatusOr<nlohmann::ordered_json> ConvertResponsesTools(const nlohmann::ordered_json* tools,
                                                             const Limits& limits);

}  // namespace tandem
