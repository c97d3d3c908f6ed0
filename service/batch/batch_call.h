// One request of a batch, from its line's body to the body of its result.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/status.h"
#include "service/api/chat_run.h"
#include "service/api/openai_request.h"
#include "service/batch/job_line.h"
#include "service/http/exchange.h"

namespace tandem {

// A request that was understood.
struct BatchCall {
  OpenAiRequest request;
  bool is_chat = false;
  std::optional<HttpResponse> answer;  // of one that generates nothing: it is done already

  int32_t sequences() const;  // that it asks the engine for
};

// Errors: as the HTTP API's, and INVALID_ARGUMENT for what a batch cannot do (stream). REQUIRES:
// line.error is OK.
absl::StatusOr<BatchCall> UnderstandBatchLine(const ServiceContext& service, const JobLine& line,
                                              bool any_model);

struct BatchEnd {
  absl::Status error;     // why there is no answer: what StartChat(), FailureOf() say
  HttpResponse response;  // the answer, or the error in the API's words
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
};

class BatchRun {
 public:
  virtual ~BatchRun() = default;
  virtual void Cancel() = 0;  // any thread; its end still comes
};

// Blocks as StartChat() does. On an error `done` is not called; else once, perhaps before this
// returns, on this thread or the writer's. REQUIRES: no answer yet.
absl::StatusOr<std::shared_ptr<BatchRun>> StartBatchCall(const ServiceContext& service,
                                                         BatchCall call, const Caller& caller,
                                                         const RequestTags& tags,
                                                         std::function<void(BatchEnd)> done);

}  // namespace tandem
