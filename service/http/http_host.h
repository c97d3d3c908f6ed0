// What all connections of an HTTP server share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "service/access/api_keys.h"
#include "service/access/request_log.h"
#include "service/http/exchange.h"
#include "service/http/http_server.h"

namespace tandem {

class Connection;

// Counts things that are alive; lets somebody wait until there are none. Thread-safe.
class AliveCount {
 public:
  void Add() {
    std::lock_guard lock(mutex_);
    ++count_;
  }
  void Remove() {
    std::lock_guard lock(mutex_);
    if (--count_ == 0) none_.notify_all();
  }
  bool WaitForNone(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    return none_.wait_for(lock, patience, [this] { return count_ == 0; });
  }
  int32_t count() const {
    std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable none_;
  int32_t count_ = 0;
};

struct HttpHost {
  HttpServerOptions options;
  RouteTable routes;
  const ApiKeys& keys;
  WorkQueue& intake;
  std::vector<std::shared_ptr<RequestObserver>> observers;

  std::atomic<bool> draining = false;
  std::atomic<int> port = 0;
  std::atomic<int64_t> body_bytes = 0;    // held for all connections
  std::atomic<int64_t> upload_bytes = 0;  // likewise, of routes with a limit of their own
  AliveCount answers;      // requests whose answer has not come to its end, or is still held
  AliveCount connections;  // objects, a moment longer than `open`
  std::mutex mutex;
  std::unordered_set<std::shared_ptr<Connection>> open;  // under `mutex`
};

}  // namespace tandem
