#include "tools/record_server.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "placement/profile_file.h"
#include "tandem/v1/placement.grpc.pb.h"
#include "tools/interrupts.h"

namespace tandem {
namespace {

using Clock = std::chrono::system_clock;

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// For so long, or until Ctrl-C.
void Wait(double seconds) {
  std::mutex mutex;
  std::condition_variable changed;
  bool interrupted = false;
  Interrupts interrupts([&](int) {
    std::lock_guard lock(mutex);
    interrupted = true;
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  changed.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return interrupted; });
}

absl::StatusOr<ExpertProfile> StopAndFetch(v1::Placement::Stub& stub,
                                           const RecordServerOptions& options) {
  std::ofstream trace;
  grpc::ClientContext context;
  const auto reader = stub.StopRecording(&context, {});
  std::string profile;
  for (v1::RecordingChunk chunk; reader->Read(&chunk);) {
    profile += chunk.profile();
    if (!chunk.has_trace()) continue;
    if (!trace.is_open()) trace.open(options.trace_path, std::ios::binary);
    trace << chunk.trace();
  }
  trace.flush();
  if (const absl::Status ended = ToStatus(reader->Finish()); !ended.ok()) {
    if (trace.is_open()) std::remove(options.trace_path.c_str());  // half of one
    return ended;
  }
  if (!trace)
    return absl::UnavailableError(absl::StrCat(options.trace_path, ": cannot be written"));
  return ProfileFromBytes(std::move(profile), "the server's profile");
}

}  // namespace

absl::StatusOr<ExpertProfile> RecordServer(const RecordServerOptions& options) {
  const auto channel = grpc::CreateChannel(options.address, grpc::InsecureChannelCredentials());
  if (!channel->WaitForConnected(Clock::now() + std::chrono::seconds(5)))
    return absl::UnavailableError(absl::StrCat("no Tandem server answers at ", options.address));
  const auto stub = v1::Placement::NewStub(channel);
  grpc::ClientContext context;
  v1::StartRecordingRequest request;
  request.set_label(options.label);
  request.set_with_trace(!options.trace_path.empty());
  v1::StartRecordingResponse response;
  TANDEM_RETURN_IF_ERROR(ToStatus(stub->StartRecording(&context, request, &response)));
  Wait(options.seconds);
  return StopAndFetch(*stub, options);
}

}  // namespace tandem
