#include "service/batch/batch_call.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "service/api/answer_writer.h"
#include "service/api/openai_answer.h"
#include "service/api/tokenize_routes.h"

namespace tandem {
namespace {

std::string Dumped(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// Held by the sinks of its runs.
class Run final : public BatchRun, public std::enable_shared_from_this<Run> {
 public:
  Run(std::unique_ptr<AnswerWriter> writer, int32_t n, int32_t prompts,
      std::function<void(BatchEnd)> done)
      : writer_(std::move(writer)), n_(n), open_(n * prompts), done_(std::move(done)) {}

  absl::Status Start(const ServiceContext& service, BatchCall call, const Caller& caller,
                     const RequestTags& tags);
  void Cancel() override {
    for (const auto& run : runs_)
      if (const auto held = run.lock()) held->Cancel();
  }

 private:
  void Begin(int32_t prompt_tokens);
  bool Push(int32_t prompt, ChatUpdate update);
  void Deliver(const ChatUpdate& update);
  void End();

  const std::unique_ptr<AnswerWriter> writer_;
  const int32_t n_;  // answers to each prompt
  std::vector<std::weak_ptr<ChatRun>> runs_;

  std::mutex mutex_;
  bool begun_ = false, dead_ = false;
  std::vector<ChatUpdate> early_;
  int32_t open_;  // answers that have not ended
  BatchEnd end_;
  std::function<void(BatchEnd)> done_;
};

absl::Status Run::Start(const ServiceContext& service, BatchCall call, const Caller& caller,
                        const RequestTags& tags) {
  int32_t prompt_tokens = 0;
  std::vector<std::shared_ptr<ChatRun>> started;
  for (ChatCall& prompt : call.request.calls) {
    const auto number = static_cast<int32_t>(started.size());
    auto run = StartChat(service, std::move(prompt), caller, tags,
                         [self = shared_from_this(), number](const ChatUpdate& update) {
                           return self->Push(number, update);
                         });
    if (!run.ok()) {  // those already started end unheard
      std::lock_guard lock(mutex_);
      dead_ = true;
      for (const auto& other : started) other->Cancel();
      return run.status();
    }
    prompt_tokens += (*run)->prompt_tokens();
    started.push_back(*std::move(run));
  }
  runs_.assign(started.begin(), started.end());
  Begin(prompt_tokens);
  return absl::OkStatus();
}

void Run::Begin(int32_t prompt_tokens) {
  std::lock_guard lock(mutex_);
  writer_->Begin(prompt_tokens);
  begun_ = true;
  for (const ChatUpdate& update : std::exchange(early_, {})) Deliver(update);
}

bool Run::Push(int32_t prompt, ChatUpdate update) {
  std::lock_guard lock(mutex_);
  if (dead_) return false;
  update.choice += prompt * n_;
  if (begun_) {
    Deliver(update);
  } else {
    early_.push_back(std::move(update));
  }
  return true;
}

void Run::Deliver(const ChatUpdate& update) {
  writer_->Push(update);
  if (!update.finish) return;
  const Usage& usage = update.usage.usage;
  if (update.choice % n_ == 0) end_.prompt_tokens += usage.prompt_tokens;
  if (update.choice % n_ == 0) end_.cached_tokens += usage.cached_tokens;
  end_.completion_tokens += usage.completion_tokens;
  const absl::Status failure = FailureOf(update);
  if (end_.error.ok()) end_.error = failure;
  if (--open_ == 0) End();
}

void Run::End() {
  end_.response = end_.error.ok() ? writer_->Whole() : writer_->Error(end_.error);
  std::exchange(done_, nullptr)(std::move(end_));
}

}  // namespace

int32_t BatchCall::sequences() const {
  int32_t sum = 0;
  for (const ChatCall& call : request.calls) sum += call.n;
  return sum;
}

absl::StatusOr<BatchCall> UnderstandBatchLine(const ServiceContext& service, const JobLine& line,
                                              bool any_model) {
  const OpenAiParseArgs args = {.limits = service.limits,
                                .tokenizer = service.engine.tokenizer(),
                                .thinking_default = service.policy.thinking_default};
  BatchCall call = {.is_chat = line.url == "/v1/chat/completions"};
  if (line.url == "/tokenize") {
    nlohmann::ordered_json body = line.body;
    if (any_model) body.erase("model");
    TANDEM_ASSIGN_OR_RETURN(const auto answer, TokenizeBody(service, body));
    call.answer = HttpResponse{.body = Dumped(answer)};
    return call;
  }
  TANDEM_ASSIGN_OR_RETURN(call.request, call.is_chat ? ParseChatCompletion(line.body, args)
                                                     : ParseCompletion(line.body, args));
  if (call.request.stream)
    return absl::InvalidArgumentError("stream is true; expected false: a batch has no streams");
  if (!any_model) TANDEM_RETURN_IF_ERROR(CheckModel(service, call.request.model));
  return call;
}

absl::StatusOr<std::shared_ptr<BatchRun>> StartBatchCall(const ServiceContext& service,
                                                         BatchCall call, const Caller& caller,
                                                         const RequestTags& tags,
                                                         std::function<void(BatchEnd)> done) {
  auto writer = MakeOpenAiAnswer(call.is_chat ? OpenAiApi::kChat : OpenAiApi::kText, call.request,
                                 service.model_name, service.engine.tokenizer());
  auto run =
      std::make_shared<Run>(std::move(writer), call.request.calls.front().n,
                            static_cast<int32_t>(call.request.calls.size()), std::move(done));
  TANDEM_RETURN_IF_ERROR(run->Start(service, std::move(call), caller, tags));
  return run;
}

}  // namespace tandem
