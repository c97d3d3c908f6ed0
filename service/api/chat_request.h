// A ChatCall as what the engine understands. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <memory>

#include "core/status.h"
#include "engine/engine.h"
#include "service/access/caller.h"
#include "service/api/chat_call.h"
#include "service/api/chat_run.h"

namespace tandem {

struct PreparedChat {
  GenerationRequest request;  // of the first choice; the others differ in seed and constraint
  bool is_chat = false;       // the answer is to be taken apart
  bool in_reasoning = false;  // it begins inside <think>
  int32_t first_call_index = 0;
  AnswerRules rules;
  bool has_rules = false;  // whether they restrict anything
};

// Renders, tokenizes, and fills in the defaults. Errors: INVALID_ARGUMENT naming the field.
absl::StatusOr<PreparedChat> PrepareChat(const ServiceContext& service, ChatCall call,
                                         const Caller& caller, const RequestTags& tags);

}  // namespace tandem
