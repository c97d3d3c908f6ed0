// What workers of one long job share: bytes done so far, and the first error.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "core/status.h"
#include "engine/checkpoint/progress.h"

namespace tandem {

// Counts bytes towards a known total. Thread-safe.
class Meter {
 public:
  // `progress` must outlive the meter.
  Meter(int64_t total_bytes, const ProgressFn& progress)
      : total_bytes_(total_bytes), progress_(progress) {}
  void Add(int64_t bytes) {
    const int64_t done = done_bytes_.fetch_add(bytes) + bytes;
    if (progress_) progress_(done, total_bytes_);
  }

 private:
  int64_t total_bytes_;
  const ProgressFn& progress_;
  std::atomic<int64_t> done_bytes_{0};
};

// Workers ask ok() before they take up more work. Thread-safe.
class FirstError {
 public:
  bool ok() const { return ok_.load(std::memory_order_relaxed); }
  void Keep(absl::Status status) {
    if (status.ok()) return;
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
    ok_ = false;
  }
  // Once the workers rest.
  absl::Status Take() { return std::move(status_); }

 private:
  std::atomic<bool> ok_{true};
  std::mutex mutex_;
  absl::Status status_;
};

}  // namespace tandem
