#include "service/grpc/placement_service.h"

#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/grpc/call_context.h"

namespace tandem {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

}  // namespace

// Sends a finished recording piece by piece; owns it and itself until gRPC is done.
class PlacementService::FileStream final : public grpc::ServerWriteReactor<v1::RecordingChunk> {
 public:
  explicit FileStream(grpc::CallbackServerContext* context) : context_(context) {}

  void Begin(absl::StatusOr<std::unique_ptr<Recording>> recording) {
    if (!recording.ok()) return Finish(ToGrpcStatus(recording.status(), context_));
    recording_ = *std::move(recording);
    profile_ = recording_->ProfileBytes();
    if (!recording_->trace_path().empty()) trace_.open(recording_->trace_path(), std::ios::binary);
    WriteNext();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client left"));
    WriteNext();
  }
  void OnDone() override { delete this; }

 private:
  void WriteNext() {
    chunk_.Clear();
    if (sent_ < profile_.size()) {
      chunk_.set_profile(profile_.substr(sent_, kChunkBytes));
      sent_ += chunk_.profile().size();
    } else if (trace_.is_open() && trace_.peek() != std::ifstream::traits_type::eof()) {
      std::string& bytes = *chunk_.mutable_trace();
      bytes.resize(kChunkBytes);
      trace_.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      bytes.resize(static_cast<size_t>(trace_.gcount()));
    } else {
      return Finish(grpc::Status::OK);
    }
    StartWrite(&chunk_);
  }

  grpc::CallbackServerContext* const context_;
  std::unique_ptr<Recording> recording_;
  std::string profile_;
  size_t sent_ = 0;  // of profile_
  std::ifstream trace_;
  v1::RecordingChunk chunk_;  // being written
};

grpc::ServerUnaryReactor* PlacementService::StartRecording(grpc::CallbackServerContext* context,
                                                           const v1::StartRecordingRequest* request,
                                                           v1::StartRecordingResponse*) {
  return RunUnary(context, [=, this] { return Start(*request); });
}

grpc::ServerWriteReactor<v1::RecordingChunk>* PlacementService::StopRecording(
    grpc::CallbackServerContext* context, const v1::StopRecordingRequest*) {
  auto* stream = new FileStream(context);
  work_.Post([=, this] { stream->Begin(Stop()); });
  return stream;
}

grpc::ServerUnaryReactor* PlacementService::GetRecording(grpc::CallbackServerContext* context,
                                                         const v1::GetRecordingRequest*,
                                                         v1::GetRecordingResponse* response) {
  return RunUnary(context, [=, this] {
    if (recording_ == nullptr) return absl::OkStatus();
    const RecordingStatus status = recording_->status();
    response->set_recording(true);
    response->set_seconds(status.seconds);
    response->set_tokens(status.tokens);
    response->set_trace_tokens(status.trace_tokens);
    response->set_dropped_steps(status.dropped_steps);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PlacementService::RunUnary(grpc::CallbackServerContext* context,
                                                     std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  work_.Post([=, work = std::move(work)] { reactor->Finish(ToGrpcStatus(work(), context)); });
  return reactor;
}

absl::Status PlacementService::Start(const v1::StartRecordingRequest& request) {
  if (recording_ != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("a recording has been running for ",
                     static_cast<int64_t>(recording_->status().seconds), " s; stop it first"));
  }
  if (request.label().size() > static_cast<size_t>(limits_.max_label_bytes)) {
    return absl::InvalidArgumentError(absl::StrCat("label is ", request.label().size(),
                                                   " bytes long; expected at most ",
                                                   limits_.max_label_bytes, " bytes"));
  }
  RecordingOptions options = {.label = request.label(), .with_trace = request.with_trace()};
  if (request.has_max_trace_tokens()) options.max_trace_tokens = request.max_trace_tokens();
  if (options.max_trace_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_trace_tokens is ", options.max_trace_tokens, "; expected 1 or more"));
  }
  TANDEM_ASSIGN_OR_RETURN(recording_, Recording::Start(engine_, options));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Recording>> PlacementService::Stop() {
  if (recording_ == nullptr) return absl::FailedPreconditionError("nothing is being recorded");
  std::unique_ptr<Recording> ended = std::move(recording_);
  TANDEM_RETURN_IF_ERROR(ended->Stop());
  return ended;
}

}  // namespace tandem
