// What clients talk to: a gRPC server (tandem.v1, service/grpc) and an HTTP server (OpenAI,
// Anthropic, web page; service/http) over one engine. They share keys, limits and the gate.
//
// They listen from Start() on, and have their own threads. Shutdown() or the destructor ends them;
// the engine must outlive both.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/engine.h"
#include "service/access/api_keys.h"
#include "service/access/request_log.h"
#include "service/access/tls_files.h"
#include "service/api/chat_run.h"
#include "service/batch/batch_queue.h"
#include "service/http/exchange.h"
#include "service/http/http_server.h"
#include "service/limits.h"

namespace tandem {

struct ServerOptions {
  std::string address = "127.0.0.1:50051";  // of gRPC; port 0: a free one; "": no gRPC
  std::string http_address = "";            // likewise
  ApiKeys keys;                             // of both
  std::optional<TlsPem> tls;                // of both
  bool insecure = false;                    // any address, even without keys and TLS
  std::vector<std::string> allowed_hosts;   // see HttpServerOptions
  std::string model_name = "";              // as APIs report it
  PromptPolicy policy;
  Limits limits = {};
  HttpTimes http_times;
  std::vector<std::shared_ptr<RequestObserver>> observers;  // of both
  BatchQueueOptions batches = {};                           // folder "": none are kept
};

class Server {
 public:
  // Errors: INVALID_ARGUMENT for an address that other machines can reach without keys and TLS,
  // UNAVAILABLE if one cannot be listened on (taken, or not of this machine), those of
  // BatchQueue::Open().
  static absl::StatusOr<std::unique_ptr<Server>> Start(Engine& engine,
                                                       const ServerOptions& options);
  virtual ~Server() = default;

  virtual const std::string& address() const = 0;       // of gRPC, with the port really used; or ""
  virtual const std::string& http_address() const = 0;  // likewise
  virtual const RouteTable& routes() const = 0;

  // Health checks say so, new requests are refused, open ones get at most `patience`, the rest is
  // cancelled; then nothing listens any more. Batches go on at the next start. A second call does
  // nothing.
  virtual void Shutdown(std::chrono::milliseconds patience) = 0;
};

}  // namespace tandem
