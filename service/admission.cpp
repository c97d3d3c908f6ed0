#include "service/admission.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "engine/engine.h"

namespace tandem {

absl::StatusOr<Admission::Ticket> Admission::Enter() {
  std::lock_guard lock(mutex_);
  if (closed_) return absl::UnavailableError("the server is shutting down");
  if (open_ >= limit_) {
    auto status = absl::ResourceExhaustedError(absl::StrCat(
        "the server is serving ", open_, " calls, its limit; try again a little later"));
    const double retry_after_s = std::clamp(leave_interval_s_, 0.1, 30.0);
    status.SetPayload(kRetryAfterMsPayload,
                      absl::Cord(absl::StrCat(static_cast<int64_t>(1000 * retry_after_s))));
    return status;
  }
  // The pace is measured over stretches in which somebody was here.
  if (open_++ == 0) last_leave_ = Clock::now();
  return Ticket(this);
}

void Admission::Leave() {
  std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  const double interval_s = std::chrono::duration<double>(now - last_leave_).count();
  leave_interval_s_ += 0.1 * (interval_s - leave_interval_s_);
  last_leave_ = now;
  if (--open_ == 0) empty_.notify_all();
}

void Admission::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

bool Admission::WaitUntilEmpty(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return empty_.wait_for(lock, patience, [this] { return open_ == 0; });
}

int32_t Admission::open() const {
  std::lock_guard lock(mutex_);
  return open_;
}

}  // namespace tandem
