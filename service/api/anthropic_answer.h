// An answer as Anthropic's message: an object, and the events that build it up.
//
//   message_start, then for each block content_block_start, ..._delta, ..._stop,
//   then message_delta and message_stop; or an error event.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "service/api/answer_writer.h"
#include "service/api/call_memory.h"

namespace tandem {

struct AnthropicAnswerArgs {
  std::string id;     // "msg_..."
  std::string model;  // as it is told
  std::string caller;
  std::shared_ptr<CallMemory> memory;  // told of the calls
  int32_t max_tokens = 0;              // as asked for
  bool omit_thinking = false;
};

std::unique_ptr<AnswerWriter> MakeAnthropicAnswer(AnthropicAnswerArgs args);

// Status, Retry-After and {"type": "error", "error": {"type", "message"}}.
HttpResponse ToAnthropicError(const absl::Status& error);

}  // namespace tandem
