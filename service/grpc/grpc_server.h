// The gRPC server: tandem.v1.Inference, tandem.v1.Placement, tandem.v1.Batch, standard health
// (grpc.health.v1) and reflection. No gRPC types here.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/status.h"
#include "service/access/api_keys.h"
#include "service/access/tls_files.h"
#include "service/admission.h"
#include "service/api/chat_run.h"
#include "service/batch/batch_queue.h"

namespace tandem {

struct GrpcServerOptions {
  std::string address;  // HOST:PORT or unix:PATH; port 0: a free one
  const TlsPem* tls = nullptr;
};

class GrpcServer {
 public:
  // Listens from here on. `context` (with its keys), `admission` and `batches` outlive it; null:
  // none are kept. Error: UNAVAILABLE if the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                           const ServiceContext& context,
                                                           Admission& admission,
                                                           BatchQueue* batches);
  virtual ~GrpcServer() = default;  // Stop()

  virtual const std::string& address() const = 0;  // with the port really used
  virtual void BeginDrain() = 0;                   // health says NOT_SERVING
  // Cancels all calls, and returns when the last has ended. A second call does nothing.
  virtual void Stop() = 0;
};

}  // namespace tandem
