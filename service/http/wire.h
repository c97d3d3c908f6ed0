// One client's socket, plain or under TLS, and timers beside it. Everything that is called back
// runs on the wire's strand: never two at once. All methods but Post() are called there, too.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/status.h"
#include "service/access/tls_files.h"

namespace tandem {

class WireTimer {
 public:
  virtual ~WireTimer() = default;
  // Takes the place of what was set before.
  virtual void After(std::chrono::milliseconds time, std::function<void()> then) = 0;
  virtual void Cancel() = 0;
};

class Wire {
 public:
  // `bytes` 0: the end, or an error.
  using Done = std::function<void(size_t bytes)>;

  virtual ~Wire() = default;
  virtual void Handshake(std::function<void(bool ok)> done) = 0;  // plain: done at once
  // At most one of each at a time. The memory must stay until `done`.
  virtual void ReadSome(char* to, size_t size, Done done) = 0;
  virtual void WriteSome(std::string_view bytes, Done done) = 0;
  virtual void EndWriting() = 0;  // the client reads an end of file
  virtual void Close() = 0;       // what is under way ends with 0 bytes
  virtual std::shared_ptr<WireTimer> NewTimer() = 0;
  virtual void Post(std::function<void()> task) = 0;  // any thread

  virtual const std::string& local_address() const = 0;  // that the client reached: "127.0.0.1"
  virtual bool secure() const = 0;
};

// Listens, and runs all wires, on threads of its own.
class WireHost {
 public:
  // `accepted` is called for each client, on the wire's strand. Errors: as HttpServer::Start().
  static absl::StatusOr<std::unique_ptr<WireHost>> Listen(
      const std::string& address, const TlsPem* tls, int threads,
      std::function<void(std::shared_ptr<Wire>)> accepted);
  // REQUIRES: all wires are gone, or will be closed by what has been posted.
  virtual ~WireHost() = default;

  virtual const std::string& address() const = 0;
  virtual int port() const = 0;
  virtual void StopListening() = 0;
};

}  // namespace tandem
