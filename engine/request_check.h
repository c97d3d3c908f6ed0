// Whether a request can be served at all. Errors: INVALID_ARGUMENT naming field, value and range.
#pragma once

#include "engine/engine.h"

namespace tandem {

absl::Status ValidatePrompt(const std::vector<int32_t>& ids, int32_t vocab, int64_t max_tokens);

// `max_context`: ids a sequence may reach; the prompt must leave room for one more.
absl::Status Validate(const GenerationRequest& request, int32_t vocab, int64_t max_context);

}  // namespace tandem
