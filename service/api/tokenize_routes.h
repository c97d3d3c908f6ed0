// Counting without answering: POST /tokenize and /detokenize, as vLLM and SGLang have them, and
// Moonshot's POST /v1/tokenizers/estimate-token-count (kimi_k26: tokenize endpoints).
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/status.h"
#include "service/api/chat_run.h"
#include "service/http/exchange.h"

namespace tandem {

// `service` must outlive the routes.
void AddTokenizeRoutes(RouteTable& routes, const ServiceContext& service);

// The body of POST /tokenize -> {"count", "max_model_len", "tokens", "token_strs"}. The last only
// if asked for. Errors: INVALID_ARGUMENT that begins with the field.
absl::StatusOr<nlohmann::ordered_json> TokenizeBody(const ServiceContext& service,
                                                    const nlohmann::ordered_json& body);

}  // namespace tandem
