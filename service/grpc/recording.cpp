#include "service/grpc/recording.h"

#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "placement/profile_file.h"

namespace tandem {
namespace {

std::string NewTracePath() {
  static std::atomic<int> number = 0;
  return (std::filesystem::temp_directory_path() /
          absl::StrCat("tandem-", getpid(), "-", number++, ".trace"))
      .string();
}

}  // namespace

// Passes steps on to the recorder, and to the trace until that is long enough.
class Recording::Observer final : public RoutingObserver {
 public:
  Observer(const ModelIdentity& model, const RecordingOptions& options,
           std::unique_ptr<TraceWriter> trace)
      : recorder(model, options.label),
        trace(std::move(trace)),
        max_trace_tokens_(options.max_trace_tokens) {}

  void BeginStep(std::span<const RoutedRow> rows) override {
    rows_ = std::ssize(rows);
    traced_ = trace != nullptr && trace_tokens + rows_ <= max_trace_tokens_;
    recorder.BeginStep(rows);
    if (traced_) trace->BeginStep(rows);
  }
  void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
              View<const float, 2> weights) override {
    recorder.Routed(layer, first_row, expert_ids, weights);
    if (traced_) trace->Routed(layer, first_row, expert_ids, weights);
  }
  void EndStep() override {
    recorder.EndStep();
    if (!traced_) return;
    trace->EndStep();
    trace_tokens += rows_;
  }

  ProfileRecorder recorder;
  const std::unique_ptr<TraceWriter> trace;  // or null
  std::atomic<int64_t> trace_tokens{0};

 private:
  const int64_t max_trace_tokens_;
  int64_t rows_ = 0;
  bool traced_ = false;  // the running step
};

absl::StatusOr<std::unique_ptr<Recording>> Recording::Start(Engine& engine,
                                                            const RecordingOptions& options) {
  const ModelIdentity& model = engine.identity();
  if (model.moe_layers() <= 0 || model.experts <= 0)
    return absl::FailedPreconditionError("the model has no routed experts: nothing to record");
  const std::string trace_path = options.with_trace ? NewTracePath() : "";
  std::unique_ptr<TraceWriter> trace;
  if (options.with_trace) {
    TANDEM_ASSIGN_OR_RETURN(trace, TraceWriter::Create(trace_path, model));
  }
  auto observer = std::make_shared<Observer>(model, options, std::move(trace));
  TANDEM_RETURN_IF_ERROR(engine.Observe(observer));
  return std::unique_ptr<Recording>(new Recording(engine, trace_path, std::move(observer)));
}

Recording::Recording(Engine& engine, std::string trace_path, std::shared_ptr<Observer> observer)
    : engine_(engine), trace_path_(std::move(trace_path)), observer_(std::move(observer)) {}

Recording::~Recording() {
  if (observing_) engine_.StopObserving(observer_.get()).IgnoreError();
  std::error_code ignored;
  if (!trace_path_.empty()) std::filesystem::remove(trace_path_, ignored);
}

RecordingStatus Recording::status() const {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began_;
  return {.seconds = seconds.count(),
          .tokens = observer_->recorder.tokens(),
          .trace_tokens = observer_->trace_tokens,
          .dropped_steps = observer_->recorder.dropped_steps()};
}

absl::Status Recording::Stop() {
  TANDEM_RETURN_IF_ERROR(engine_.StopObserving(observer_.get()));
  observing_ = false;
  if (observer_->trace != nullptr) TANDEM_RETURN_IF_ERROR(observer_->trace->Finish());
  if (observer_->recorder.tokens() == 0)
    return absl::FailedPreconditionError("the recording has ended; nothing was asked meanwhile");
  return absl::OkStatus();
}

std::string Recording::ProfileBytes() const {
  return ProfileToBytes(observer_->recorder.Snapshot());
}

}  // namespace tandem
