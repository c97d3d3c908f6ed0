#include "tools/record_prompts.h"

#include <condition_variable>
#include <memory>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "placement/profile_recorder.h"
#include "placement/routing_trace.h"

namespace tandem {
namespace {

// Answers that are under way, and the first error of one.
class Crowd {
 public:
  void Enter(int32_t limit) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return inside_ < limit; });
    ++inside_;
  }
  void Leave(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    --inside_;
    ++done_;
    status_.Update(status);
    changed_.notify_all();
  }
  void WaitUntilEmpty() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return inside_ == 0; });
  }
  absl::Status status() {
    std::lock_guard lock(mutex_);
    return status_;
  }
  int64_t done() {
    std::lock_guard lock(mutex_);
    return done_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int32_t inside_ = 0;
  int64_t done_ = 0;
  absl::Status status_;
};

GenerationRequest ToRequest(const Prompt& prompt, size_t index, const RecordOptions& options) {
  GenerationRequest request;
  request.prompt_ids = prompt.ids;
  request.sampling.temperature = static_cast<float>(options.temperature);
  request.sampling.seed = options.seed + index;
  request.max_tokens = options.generate;
  request.ignore_eos = options.ignore_eos;
  request.label = prompt.label.empty() ? options.label : prompt.label;
  return request;
}

absl::Status AnswerAll(Engine& engine, const std::vector<Prompt>& prompts,
                       const RecordOptions& options) {
  auto crowd = std::make_shared<Crowd>();
  absl::Status refused;
  for (size_t i = 0; i < prompts.size() && refused.ok() && crowd->status().ok(); ++i) {
    crowd->Enter(options.in_flight);
    GenerationRequest request = ToRequest(prompts[i], i, options);
    request.on_event = [crowd](const GenerationEvent& event) {
      if (event.finish) crowd->Leave(event.status);
    };
    const auto submitted = engine.Submit(std::move(request));
    if (!submitted.ok()) {
      refused = absl::Status(submitted.status().code(),
                             absl::StrCat("prompt ", i, ": ", submitted.status().message()));
      crowd->Leave(refused);
    }
    if (options.on_progress) options.on_progress(crowd->done(), std::ssize(prompts));
  }
  crowd->WaitUntilEmpty();
  if (options.on_progress) options.on_progress(crowd->done(), std::ssize(prompts));
  return refused.ok() ? crowd->status() : refused;
}

}  // namespace

absl::StatusOr<ExpertProfile> RecordPrompts(Engine& engine, const std::vector<Prompt>& prompts,
                                            const RecordOptions& options) {
  std::shared_ptr<TraceWriter> trace;
  if (!options.trace_path.empty()) {
    TANDEM_ASSIGN_OR_RETURN(trace, TraceWriter::Create(options.trace_path, engine.identity()));
    TANDEM_RETURN_IF_ERROR(engine.Observe(trace));
  }
  auto recorder = std::make_shared<ProfileRecorder>(engine.identity());
  TANDEM_RETURN_IF_ERROR(engine.Observe(recorder));
  const absl::Status answered = AnswerAll(engine, prompts, options);
  TANDEM_RETURN_IF_ERROR(engine.StopObserving(recorder.get()));
  if (trace != nullptr) TANDEM_RETURN_IF_ERROR(engine.StopObserving(trace.get()));
  TANDEM_RETURN_IF_ERROR(answered);
  if (trace != nullptr) TANDEM_RETURN_IF_ERROR(trace->Finish());
  return recorder->Snapshot();
}

}  // namespace tandem
