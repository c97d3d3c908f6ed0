// The body of POST /v1/responses as a ChatCall (kimi_k26: OpenAI Responses).
//
// docs/api.md lists every field: honoured, without effect, or refused. Any thread; errors:
// INVALID_ARGUMENT beginning with the field, NOT_FOUND for a previous response that is not kept.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "core/status.h"
#include "service/api/chat_call.h"
#include "service/api/response_store.h"
#include "service/limits.h"

namespace tandem {

struct ResponsesRequest {
  ChatCall call;
  std::string model;
  bool stream = false;
  bool store = true;
  bool seal_reasoning = false;      // reasoning also in encrypted_content
  nlohmann::ordered_json messages;  // the conversation without `instructions`, to be kept
  nlohmann::ordered_json echo;      // what of the request stands in the response object
};

struct ResponsesParseArgs {
  const Limits& limits;
  ResponseStore& store;
  const std::string& caller;
  bool thinking_default = true;
};

absl::StatusOr<ResponsesRequest> ParseResponsesRequest(const nlohmann::ordered_json& body,
                                                       const ResponsesParseArgs& args);

}  // namespace tandem
