// The body of POST /v1/messages as a ChatCall (kimi_k26: Anthropic Messages).
//
// docs/api.md lists every field: honoured, without effect, or refused. Pure functions, any
// thread; errors: INVALID_ARGUMENT beginning with the field, NOT_FOUND for another model.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/status.h"
#include "service/api/call_memory.h"
#include "service/api/chat_call.h"
#include "service/limits.h"

namespace tandem {

struct AnthropicRequest {
  ChatCall call;
  std::string model;  // as the client wrote it
  bool stream = false;
  bool omit_thinking = false;  // the client wants to have it back, but not to see it
};

struct AnthropicParseArgs {
  const Limits& limits;
  CallMemory& memory;         // of the calls that earlier answers made
  const std::string& caller;  // whose calls
  bool counting = false;      // count_tokens: no max_tokens
};

absl::StatusOr<AnthropicRequest> ParseAnthropicRequest(const nlohmann::ordered_json& body,
                                                       const AnthropicParseArgs& args);

}  // namespace tandem
