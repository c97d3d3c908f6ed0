#include "service/http/http_server.h"

#include <utility>

#include "core/log.h"
#include "service/http/connection.h"
#include "service/http/http_host.h"
#include "service/http/wire.h"

namespace tandem {
namespace {

constexpr int kIoThreads = 2;
constexpr int32_t kCrowdedConnections = 64;  // beyond the limit, only to be told so

class WireServer final : public HttpServer {
 public:
  WireServer(const HttpServerOptions& options, RouteTable routes, const ApiKeys& keys,
             WorkQueue& intake, std::vector<std::shared_ptr<RequestObserver>> observers)
      : host_{options, std::move(routes), keys, intake, std::move(observers)} {}
  ~WireServer() override { Stop(); }

  absl::Status Listen() {
    const HttpServerOptions& options = host_.options;
    TANDEM_ASSIGN_OR_RETURN(
        wires_, WireHost::Listen(options.address, options.tls ? &*options.tls : nullptr, kIoThreads,
                                 [this](std::shared_ptr<Wire> wire) { Accept(std::move(wire)); }));
    host_.port = wires_->port();
    address_ = wires_->address();
    return absl::OkStatus();
  }

  const std::string& address() const override { return address_; }
  const RouteTable& routes() const override { return host_.routes; }
  int32_t connections() const override { return host_.connections.count(); }
  void BeginDrain() override { host_.draining = true; }
  bool WaitUntilIdle(std::chrono::milliseconds patience) override {
    return host_.answers.WaitForNone(patience);
  }
  void Stop() override;

 private:
  void Accept(std::shared_ptr<Wire> wire);

  HttpHost host_;
  bool stopped_ = false;  // under host_.mutex
  std::string address_;
  std::unique_ptr<WireHost> wires_;
};

void WireServer::Accept(std::shared_ptr<Wire> wire) {
  std::shared_ptr<Connection> connection;
  {
    std::lock_guard lock(host_.mutex);
    const auto n_open = static_cast<int32_t>(host_.open.size());
    const int32_t limit = host_.options.max_connections;
    if (stopped_ || n_open >= limit + kCrowdedConnections) return wire->Close();
    connection = std::make_shared<Connection>(host_, std::move(wire), n_open >= limit);
    host_.open.insert(connection);
  }
  connection->Start();
}

void WireServer::Stop() {
  if (wires_ == nullptr) return;
  wires_->StopListening();
  {
    std::lock_guard lock(host_.mutex);
    stopped_ = true;
    for (const auto& connection : host_.open) connection->PostClose();
  }
  // Handlers have been told that their clients are gone; what they still hold they let go of.
  while (!host_.answers.WaitForNone(std::chrono::seconds(10))) {
    LogWarning("http: {} requests have not ended yet", host_.answers.count());
  }
  wires_.reset();
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const HttpServerOptions& options, RouteTable routes, const ApiKeys& keys, WorkQueue& intake,
    std::vector<std::shared_ptr<RequestObserver>> observers) {
  auto server =
      std::make_unique<WireServer>(options, std::move(routes), keys, intake, std::move(observers));
  TANDEM_RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace tandem
