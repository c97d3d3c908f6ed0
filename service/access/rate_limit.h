// A bucket that fills at a steady rate: what one key may still ask for.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace tandem {

// Not thread-safe.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;

  // `per_minute` 0: no limit. A minute's worth may be used at once.
  explicit RateLimit(int64_t per_minute) : per_minute_(per_minute), left_(per_minute) {}

  // Seconds until something is left; 0: now.
  double WaitSeconds(Clock::time_point now) {
    if (per_minute_ == 0) return 0;
    Fill(now);
    return left_ >= 1 ? 0 : (1 - left_) * 60 / static_cast<double>(per_minute_);
  }
  // What was used, known only afterwards: what is left may become negative.
  void Use(int64_t amount) { left_ -= static_cast<double>(amount); }

 private:
  void Fill(Clock::time_point now) {
    const double seconds = std::chrono::duration<double>(now - filled_).count();
    const double full = static_cast<double>(per_minute_);
    left_ = std::min(full, left_ + seconds * full / 60);
    filled_ = now;
  }

  const int64_t per_minute_;
  double left_;
  Clock::time_point filled_ = Clock::now();
};

}  // namespace tandem
