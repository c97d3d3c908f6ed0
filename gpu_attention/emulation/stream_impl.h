// Inside of the emulated streams, for the files that put work into them.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/status.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/emulation/reused_thread.h"

namespace tandem::emulated {

// A thread that takes work from a queue. An error stays, and work after it is left out.
struct Stream::Impl {
  using Work = std::function<absl::Status()>;

  Impl();
  ~Impl();

  // Into the queue, or into the graph that is being recorded. The host's thread.
  void Put(Work work);
  // The same for what must happen even after an error (events). REQUIRES: no graph is recorded.
  void PutAlways(std::function<void()> work);
  void Fail(absl::Status status);
  absl::Status status() const;
  void WaitUntilIdle();

  std::vector<Work>* recording = nullptr;  // the host's thread

 private:
  void Loop();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool busy_ = false, stopping_ = false;
  absl::Status status_;
  std::unique_ptr<ReusedThread> worker_;
};

}  // namespace tandem::emulated
