// Anthropic's system prompt, messages and tools in the form that RenderChat() takes.
//
// A system prompt of several blocks is one system message, the blocks parted by an empty line. A
// user's message with tool results becomes a tool message for each, then a user message of the
// rest. Of an assistant's message the text comes before the calls, as the model writes them. A last
// message of the assistant is left open, to be continued.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/status.h"
#include "service/api/anthropic_request.h"

namespace tandem {

// `system` and `tools` may be null. Errors: INVALID_ARGUMENT that begins with the field.
absl::StatusOr<nlohmann::ordered_json> ConvertAnthropicMessages(
    const nlohmann::ordered_json* system, const nlohmann::ordered_json& messages,
    const AnthropicParseArgs& args);
absl::StatusOr<nlohmann::ordered_json> ConvertAnthropicTools(const nlohmann::ordered_json* tools,
                                                             const Limits& limits);

}  // namespace tandem
