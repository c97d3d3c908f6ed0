// Requests of the wire, checked and turned into what the engine understands. Pure functions, any
// thread. Errors: INVALID_ARGUMENT with a sentence naming field, value and what is accepted.
// (Sampling values and prompt length are checked by Engine::Submit.)
#pragma once

#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/status.h"
#include "engine/engine.h"
#include "engine/text/chat_format.h"
#include "engine/text/tokenizer.h"
#include "service/limits.h"
#include "tandem/v1/chat.pb.h"
#include "tandem/v1/completion.pb.h"

namespace tandem {

absl::StatusOr<GenerationRequest> ToGenerationRequest(const v1::GenerateRequest& request,
                                                      const Tokenizer& tokenizer,
                                                      const Limits& limits);
absl::StatusOr<GenerationRequest> ToGenerationRequest(const v1::ChatRequest& request,
                                                      const Tokenizer& tokenizer,
                                                      const Limits& limits);

// The prompt of a conversation.
absl::StatusOr<RenderedChat> Render(const v1::Conversation& conversation,
                                    const Tokenizer& tokenizer, const Limits& limits);

// OK if every id is in the vocabulary; `field` names them in the error.
absl::Status CheckIds(const google::protobuf::RepeatedField<int32_t>& ids, const char* field,
                      const Tokenizer& tokenizer);

}  // namespace tandem
