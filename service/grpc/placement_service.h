// tandem.v1.Placement over an Engine: recordings of how experts are used. Callback API; the work,
// which may wait for a step to end, is done call after call on a thread of the service's own.
#pragma once

#include <functional>
#include <memory>

#include "engine/engine.h"
#include "service/grpc/recording.h"
#include "service/limits.h"
#include "service/work_queue.h"
#include "tandem/v1/placement.grpc.pb.h"

namespace tandem {

class PlacementService final : public v1::Placement::CallbackService {
 public:
  // `engine` must outlive the service.
  PlacementService(Engine& engine, const Limits& limits) : engine_(engine), limits_(limits) {}

  grpc::ServerUnaryReactor* StartRecording(grpc::CallbackServerContext* context,
                                           const v1::StartRecordingRequest* request,
                                           v1::StartRecordingResponse* response) override;
  grpc::ServerWriteReactor<v1::RecordingChunk>* StopRecording(
      grpc::CallbackServerContext* context, const v1::StopRecordingRequest* request) override;
  grpc::ServerUnaryReactor* GetRecording(grpc::CallbackServerContext* context,
                                         const v1::GetRecordingRequest* request,
                                         v1::GetRecordingResponse* response) override;

 private:
  class FileStream;
  grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context,
                                     std::function<absl::Status()> work);
  absl::Status Start(const v1::StartRecordingRequest& request);
  absl::StatusOr<std::unique_ptr<Recording>> Stop();

  Engine& engine_;
  const Limits limits_;
  std::unique_ptr<Recording> recording_;  // or null; only used by tasks of work_
  WorkQueue work_{1};                     // last, so that its tasks end before what they use
};

}  // namespace tandem
