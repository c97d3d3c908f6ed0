// The way from a parsed request to its answer, the same for every API that has an object or a
// stream of events to put it into.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "service/api/chat_call.h"
#include "service/api/chat_run.h"
#include "service/http/exchange.h"

namespace tandem {

// Puts an answer into an API's words. One per request; called by one thread at a time.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // Server-sent events, each whole; "" if there is nothing to tell.
  virtual std::string Begin(int32_t prompt_tokens) = 0;    // once, first
  virtual std::string Push(const ChatUpdate& update) = 0;  // the last one of a choice has `finish`
  // The whole answer, after the last update, of a request without a stream.
  virtual HttpResponse Whole() = 0;
  virtual HttpResponse Error(const absl::Status& error) const = 0;
};

// What a request says beside its body.
absl::StatusOr<RequestTags> TagsOf(const HttpRequest& request);

// NOT_FOUND unless the client means the model that is served.
absl::Status CheckModel(const ServiceContext& service, const std::string& model);

// Starts the calls and sends their answers as one, or the error. Returns at once. The choices of
// the second call follow those of the first, and so on; REQUIRES: one call at least, all with the
// same `n`. If one fails, the whole does.
void AnswerChat(const ServiceContext& service, const HttpRequest& request,
                std::shared_ptr<Exchange> exchange, std::vector<ChatCall> calls, bool stream,
                std::unique_ptr<AnswerWriter> writer);
void AnswerChat(const ServiceContext& service, const HttpRequest& request,
                std::shared_ptr<Exchange> exchange, ChatCall call, bool stream,
                std::unique_ptr<AnswerWriter> writer);

// Why an answer has no end of its own: CANCELLED, DEADLINE_EXCEEDED, what the engine says. OK for
// the other ends.
absl::Status FailureOf(const ChatUpdate& last);

// "event: NAME\ndata: DATA\n\n". REQUIRES: `data` has no line breaks.
std::string EventFrame(const std::string& name, const std::string& data);

}  // namespace tandem
