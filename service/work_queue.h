// A few threads that run tasks in the order given. Keeps slow work (tokenizing a long prompt,
// writing to sockets) off gRPC's and the engine's own threads. Unbounded: admission.h bounds what
// can be in it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tandem {

class WorkQueue {
 public:
  explicit WorkQueue(int threads);
  ~WorkQueue();  // runs what is still queued, then joins

  void Post(std::function<void()> task);  // any thread, never blocks for long

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tandem
