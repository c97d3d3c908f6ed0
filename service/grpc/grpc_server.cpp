#include "service/grpc/grpc_server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "service/grpc/batch_service.h"
#include "service/grpc/inference_service.h"
#include "service/grpc/key_credentials.h"
#include "service/grpc/placement_service.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;

void SetLimits(const Limits& limits, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits.max_message_bytes));
  // Two servers on one port would share its clients silently.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.max_open_requests);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  // A client that vanished without a word is found, and its work ended, within a minute.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  // Requests still being received, over all connections.
  builder.SetResourceQuota(grpc::ResourceQuota("tandem").Resize(64 * limits.max_message_bytes));
}

// gRPC's own log lines are for its developers.
void LogGrpc(gpr_log_func_args* line) { LogDebug("grpc: {}", line->message); }

class Impl final : public GrpcServer {
 public:
  Impl(const ServiceContext& context, Admission& admission, BatchQueue* batches)
      : context_(context),
        inference_(context, admission),
        placement_(context.engine, context.limits),
        batch_(context, batches) {}
  ~Impl() override { Stop(); }

  absl::Status Listen(const GrpcServerOptions& options) {
    gpr_set_log_function(LogGrpc);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    SetLimits(context_.limits, builder);
    int port = -1;
    builder.AddListeningPort(options.address, MakeKeyCredentials(*context_.keys, options.tls),
                             &port);
    builder.RegisterService(&inference_);
    builder.RegisterService(&placement_);
    builder.RegisterService(&batch_);
    server_ = builder.BuildAndStart();
    const bool local_socket = absl::StartsWith(options.address, "unix:");
    if (server_ == nullptr || (port <= 0 && !local_socket)) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", options.address,
                       "; is another server running there, and is it an address of this machine?"));
    }
    address_ = local_socket
                   ? options.address
                   : absl::StrCat(options.address.substr(0, options.address.rfind(':')), ":", port);
    for (const char* name : {v1::Inference::service_full_name(), v1::Placement::service_full_name(),
                             v1::Batch::service_full_name()}) {
      server_->GetHealthCheckService()->SetServingStatus(name, true);
    }
    return absl::OkStatus();
  }

  const std::string& address() const override { return address_; }
  void BeginDrain() override {
    if (server_ != nullptr) server_->GetHealthCheckService()->SetServingStatus(false);
  }
  void Stop() override {
    if (server_ == nullptr) return;
    // Cancels what is left (health watchers too) and waits until gRPC is done with all calls; the
    // second is for last messages on their way.
    server_->Shutdown(std::chrono::system_clock::now() + 1s);
    server_.reset();
  }

 private:
  const ServiceContext& context_;
  InferenceService inference_;
  PlacementService placement_;
  BatchService batch_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                              const ServiceContext& context,
                                                              Admission& admission,
                                                              BatchQueue* batches) {
  auto server = std::make_unique<Impl>(context, admission, batches);
  TANDEM_RETURN_IF_ERROR(server->Listen(options));
  return server;
}

}  // namespace tandem
