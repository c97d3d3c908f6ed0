// The door: counts the calls being served, refuses those beyond the limit with a hint when to come
// back, and lets a shutdown wait until the house is empty. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>

#include "core/status.h"

namespace tandem {

class Admission {
 public:
  // One open call; leaving scope leaves the house.
  class Ticket {
   public:
    Ticket() = default;
    explicit Ticket(Admission* house) : house_(house) {}
    Ticket(Ticket&& other) noexcept : house_(std::exchange(other.house_, nullptr)) {}
    Ticket& operator=(Ticket&& other) noexcept {
      Release();
      house_ = std::exchange(other.house_, nullptr);
      return *this;
    }
    ~Ticket() { Release(); }
    void Release() {
      if (house_ != nullptr) std::exchange(house_, nullptr)->Leave();
    }

   private:
    Admission* house_ = nullptr;
  };

  explicit Admission(int32_t limit) : limit_(limit) {}

  // Errors: RESOURCE_EXHAUSTED when full, with a retry hint (engine.h, kRetryAfterMsPayload): about
  // the time in which the next call ends, judged by the recent pace, 0.1 to 30 seconds.
  // UNAVAILABLE after Close().
  absl::StatusOr<Ticket> Enter();
  void Close();
  // Whether the last call left within `patience`.
  bool WaitUntilEmpty(std::chrono::milliseconds patience);

  int32_t open() const;

 private:
  using Clock = std::chrono::steady_clock;
  void Leave();

  const int32_t limit_;
  mutable std::mutex mutex_;
  std::condition_variable empty_;
  int32_t open_ = 0;
  bool closed_ = false;
  Clock::time_point last_leave_{};
  double leave_interval_s_ = 1.0;  // moving average of the time between two ends
};

}  // namespace tandem
