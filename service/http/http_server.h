// HTTP/1.1 over TCP or TLS: walks a RouteTable.
//
//   connection.h   one client: reads requests one after the other, writes their answers
//   wire.h         its socket; the only place that knows asio
//   request_reader.h  bytes in, requests out; the only place that knows Beast
//   head_check.h   what is refused before a body is read or a handler is called
//   answer.h       the Exchange that handlers see
//
// Two threads run all sockets, a strand per connection; handlers run on the intake queue. What a
// client can make grow is bounded: connections, bytes and number of headers, body, all bodies
// together, what waits for a client that reads slowly, and the time that each phase may take.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/access/api_keys.h"
#include "service/access/tls_files.h"
#include "service/http/exchange.h"
#include "service/work_queue.h"

namespace tandem {

// How long a client may take. Those of a phase end the connection.
struct HttpTimes {
  std::chrono::milliseconds handshake{10'000};
  std::chrono::milliseconds head{10'000};     // from a head's first byte to its last
  std::chrono::milliseconds body{120'000};    // each max_body_bytes of the body
  std::chrono::milliseconds idle{75'000};     // between two requests
  std::chrono::milliseconds write{30'000};    // without taking a single byte of what we write
  std::chrono::milliseconds linger{2'000};    // for the rest of what a refused client sends
  std::chrono::milliseconds comment{10'000};  // a stream's silence, before a comment is sent
};

struct HttpServerOptions {
  std::string address = "127.0.0.1:8080";  // HOST:PORT; port 0: a free one
  // Names under which the server may be asked beside its address: NAME (any port) or NAME:PORT.
  std::vector<std::string> allowed_hosts;
  std::optional<TlsPem> tls;
  int32_t max_connections = 4096;  // more are told so and closed
  int32_t max_head_bytes = 16 << 10;
  int32_t max_headers = 100;
  int64_t max_body_bytes = 8 << 20;
  int64_t max_all_bodies_bytes = 512 << 20;   // being received or answered, over all connections
  int64_t max_all_uploads_bytes = 512 << 20;  // likewise, of Route::max_body_bytes
  int64_t max_unread_bytes = 2 << 20;         // Limits::max_unread_bytes
  HttpTimes times;
};

class HttpServer {
 public:
  // Listens from here on. `keys` and `intake` outlive it. Errors: INVALID_ARGUMENT for an address
  // that is none, UNAVAILABLE if it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const HttpServerOptions& options, RouteTable routes, const ApiKeys& keys, WorkQueue& intake,
      std::vector<std::shared_ptr<RequestObserver>> observers);
  virtual ~HttpServer() = default;  // Stop()

  virtual const std::string& address() const = 0;  // with the port really used
  virtual const RouteTable& routes() const = 0;
  virtual int32_t connections() const = 0;

  // From now on all but GET is refused with 503, and connections close after their answer.
  virtual void BeginDrain() = 0;
  // Whether all answers came to their end within `patience`.
  virtual bool WaitUntilIdle(std::chrono::milliseconds patience) = 0;
  // Closes everything; returns when no handler holds an Exchange any more. A second call does
  // nothing.
  virtual void Stop() = 0;
};

}  // namespace tandem
