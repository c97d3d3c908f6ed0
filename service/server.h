// The gRPC server: tandem.v1.Inference, tandem.v1.Placement, standard health (grpc.health.v1) and
// reflection.
//
// It listens from Start() on, and has its own threads. Shutdown() or the destructor ends it; the
// engine must outlive it. There is no authentication: other than loopback addresses are refused
// unless `allow_remote` says that the network is trusted.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/status.h"
#include "engine/engine.h"
#include "service/limits.h"

namespace tandem {

struct ServerOptions {
  std::string address = "127.0.0.1:50051";  // port 0: a free one
  bool allow_remote = false;
  std::string model_name = "";  // as GetModelInfo reports it
  Limits limits = {};
};

class Server {
 public:
  // Errors: INVALID_ARGUMENT for an address that is not loopback, UNAVAILABLE if it cannot be
  // listened on (taken, or not of this machine).
  static absl::StatusOr<std::unique_ptr<Server>> Start(Engine& engine,
                                                       const ServerOptions& options);
  virtual ~Server() = default;

  virtual const std::string& address() const = 0;  // with the port really used

  // Reports NOT_SERVING, refuses new calls, lets open ones end for at most `patience`, cancels
  // the rest and stops. A second call does nothing.
  virtual void Shutdown(std::chrono::milliseconds patience) = 0;
};

}  // namespace tandem
