#include "service/server.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/log.h"
#include "service/access/gate.h"
#include "service/admission.h"
#include "service/api/anthropic_routes.h"
#include "service/api/openai_routes.h"
#include "service/api/responses_routes.h"
#include "service/api/tokenize_routes.h"
#include "service/grpc/grpc_server.h"
#include "service/listen_address.h"
#include "service/ops/ops_routes.h"
#include "service/work_queue.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class BothServers final : public Server {
 public:
  BothServers(Engine& engine, const ServerOptions& options)
      : options_(options),
        admission_(options_.limits.max_open_requests),
        gate_(admission_, options_.keys),
        constraints_(ConstraintCompiler::Create(engine.tokenizer(), engine.config().eos_ids)),
        metrics_(std::make_shared<Metrics>(engine, ServerAbout{TANDEM_VERSION, options_.model_name},
                                           [this] { return admission_.open(); })),
        observers_(options_.observers),
        live_(engine, options_.model_name, [this] { return admission_.open(); }),
        context_{engine,         gate_,      *constraints_,       options_.limits,
                 intake_,        writer_,    options_.model_name, options_.policy,
                 &options_.keys, &observers_} {
    observers_.push_back(metrics_);
  }
  ~BothServers() override { Shutdown(0ms); }

  absl::Status Start();
  const std::string& address() const override { return grpc_ ? grpc_->address() : none_; }
  const std::string& http_address() const override { return http_ ? http_->address() : none_; }
  const RouteTable& routes() const override { return http_->routes(); }
  void Shutdown(std::chrono::milliseconds patience) override;

 private:
  RouteTable MakeRoutes();

  const ServerOptions options_;
  const std::string none_;
  std::atomic<bool> draining_ = false;
  bool stopped_ = false;
  Admission admission_;
  Gate gate_;
  std::unique_ptr<ConstraintCompiler> constraints_;
  const std::shared_ptr<Metrics> metrics_;
  std::vector<std::shared_ptr<RequestObserver>> observers_;
  LiveView live_;
  WorkQueue intake_{2};
  WorkQueue writer_{1};
  ServiceContext context_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<HttpServer> http_;
};

RouteTable BothServers::MakeRoutes() {
  RouteTable routes;
  AddOpenAiRoutes(routes, context_);
  AddTokenizeRoutes(routes, context_);
  AddAnthropicRoutes(routes, context_);
  AddResponsesRoutes(routes, context_);
  AddOpsRoutes(routes, {*metrics_, live_, gate_, [this] { return !draining_; }});
  return routes;
}

absl::Status BothServers::Start() {
  const TlsPem* tls = options_.tls ? &*options_.tls : nullptr;
  if (!options_.address.empty()) {
    TANDEM_ASSIGN_OR_RETURN(grpc_,
                            GrpcServer::Start({options_.address, tls}, context_, admission_));
  }
  if (options_.http_address.empty()) return absl::OkStatus();
  HttpServerOptions http;
  http.address = options_.http_address;
  http.allowed_hosts = options_.allowed_hosts;
  http.tls = options_.tls;
  http.max_body_bytes = options_.limits.max_message_bytes;
  http.max_unread_bytes = options_.limits.max_unread_bytes;
  http.times = options_.http_times;
  TANDEM_ASSIGN_OR_RETURN(
      http_, HttpServer::Start(http, MakeRoutes(), options_.keys, intake_, observers_));
  return absl::OkStatus();
}

void BothServers::Shutdown(std::chrono::milliseconds patience) {
  if (std::exchange(stopped_, true)) return;
  const auto deadline = Clock::now() + patience;
  draining_ = true;
  if (grpc_ != nullptr) grpc_->BeginDrain();
  if (http_ != nullptr) http_->BeginDrain();
  admission_.Close();
  if (!admission_.WaitUntilEmpty(patience) && patience > 0ms) {
    LogWarning("shutdown: cancelling {} requests that did not end within {} s", admission_.open(),
               std::chrono::duration<double>(patience).count());
  }
  // Last bytes on their way; streams that never end (such as a live view) are not waited for.
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  if (http_ != nullptr && left > 0ms) http_->WaitUntilIdle(std::min(left, 1000ms));
  if (http_ != nullptr) http_->Stop();
  if (grpc_ != nullptr) grpc_->Stop();
  // What has been cancelled leaves a moment after its client.
  while (!admission_.WaitUntilEmpty(10s)) {
    LogWarning("shutdown: {} requests have not ended yet", admission_.open());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Engine& engine,
                                                      const ServerOptions& options) {
  const ListenSafety safety = {
      .keys = !options.keys.empty(), .tls = options.tls.has_value(), .insecure = options.insecure};
  if (options.address.empty() && options.http_address.empty()) {
    return absl::InvalidArgumentError("neither a gRPC nor an HTTP address is given");
  }
  for (const std::string& address : {options.address, options.http_address}) {
    if (!address.empty()) TANDEM_RETURN_IF_ERROR(CheckListenAddress(address, safety));
  }
  auto server = std::make_unique<BothServers>(engine, options);
  TANDEM_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace tandem
