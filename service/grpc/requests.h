// Requests of the wire, checked and turned into calls as all APIs have them. Pure functions, any
// thread. Errors: INVALID_ARGUMENT with a sentence naming field, value and what is accepted.
// (Sampling values and prompt length are checked by Engine::Submit.)
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"
#include "engine/text/tokenizer.h"
#include "service/access/caller.h"
#include "service/api/chat_call.h"
#include "service/limits.h"
#include "tandem/v1/chat.pb.h"
#include "tandem/v1/completion.pb.h"

namespace tandem {

absl::StatusOr<ChatCall> ToChatCall(const v1::GenerateRequest& request, const Tokenizer& tokenizer,
                                    const Limits& limits);
absl::StatusOr<ChatCall> ToChatCall(const v1::ChatRequest& request, const Tokenizer& tokenizer,
                                    const Limits& limits);

// Which label such a request is counted under, if it says so itself.
absl::Status SetLabel(const std::string& label, const Limits& limits, RequestTags& tags);

// OK if every id is in the vocabulary; `field` names them in the error.
absl::Status CheckIds(const google::protobuf::RepeatedField<int32_t>& ids, const char* field,
                      const Tokenizer& tokenizer);

}  // namespace tandem
