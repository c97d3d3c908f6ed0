// Any bytes as the body of a request to one of the APIs: refused with a sentence, or a call within
// the limits, whose prompt can be rendered or is refused with a sentence, too.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/text/chat_format.h"
#include "service/api/anthropic_request.h"
#include "service/api/openai_request.h"
#include "service/api/responses_request.h"
#include "service/bounded_json.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

constexpr Limits kLimits;
const std::string kCaller = "somebody";
const FakeTokenizer kTokenizer;

void Check(bool holds) {
  if (!holds) std::abort();
}
void CheckError(const absl::Status& error) {
  Check(error.code() == absl::StatusCode::kInvalidArgument ||
        error.code() == absl::StatusCode::kNotFound);
  Check(!error.message().empty() && error.message().size() < 2000);
}

void CheckCall(const ChatCall& call) {
  Check(call.max_tokens >= 0 && call.max_reasoning_tokens >= 0);
  Check(call.n >= 1 && call.n <= kLimits.max_choices);
  Check(call.stop.size() <= static_cast<size_t>(kLimits.max_stop_strings));
  Check(call.sampling.logit_bias.size() <= static_cast<size_t>(kLimits.max_logit_bias));
  for (const std::string& stop : call.stop) Check(!stop.empty());
  const auto* chat = std::get_if<ChatPrompt>(&call.prompt);
  if (chat == nullptr) return;
  const auto rendered = RenderChat(kTokenizer, chat->messages, chat->tools, chat->options);
  if (!rendered.ok()) return CheckError(rendered.status());
  Check(kTokenizer.DecodeBytes(rendered->ids, false) == rendered->text);
}

template <class Request>
void CheckRequest(const absl::StatusOr<Request>& request) {
  if (!request.ok()) return CheckError(request.status());
  CheckCall(request->call);
}

void CheckRequests(const absl::StatusOr<OpenAiRequest>& request) {
  if (!request.ok()) return CheckError(request.status());
  Check(!request->calls.empty());
  Check(request->calls.size() * request->calls.front().n <=
        static_cast<size_t>(kLimits.max_choices));
  for (const ChatCall& call : request->calls) CheckCall(call);
}

}  // namespace
}  // namespace tandem

// The first byte says which API, the rest is the body.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  if (size == 0) return 0;
  const auto body = ParseBoundedJson({reinterpret_cast<const char*>(data) + 1, size - 1}, kLimits,
                                     kLimits.max_message_bytes);
  if (!body.ok()) return CheckError(body.status()), 0;
  const int api = data[0] % 5;
  const OpenAiParseArgs openai = {.limits = kLimits, .tokenizer = kTokenizer};
  switch (api) {
    case 0:
    case 1: {
      CallMemory memory(1 << 16);
      CheckRequest(ParseAnthropicRequest(
          *body, {.limits = kLimits, .memory = memory, .caller = kCaller, .counting = api == 1}));
      break;
    }
    case 2: {
      ResponseStore store(1 << 16);
      CheckRequest(
          ParseResponsesRequest(*body, {.limits = kLimits, .store = store, .caller = kCaller}));
      break;
    }
    case 3:
      CheckRequests(ParseChatCompletion(*body, openai));
      break;
    case 4:
      CheckRequests(ParseCompletion(*body, openai));
      break;
  }
  return 0;
}
