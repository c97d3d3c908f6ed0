#include "engine/queue_bound.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

absl::Status QueueBound::Check(Priority priority, int32_t in_flight,
                               const std::array<int32_t, kPriorities>& waiting,
                               Clock::time_point now) const {
  const int32_t reserve = priority == Priority::kInteractive ? std::max(1, max_queue_ / 8) : 0;
  if (in_flight < max_sequences_ + max_queue_ + reserve) return absl::OkStatus();
  int32_t position = 1;
  for (int before = 0; before <= static_cast<int>(priority); ++before) position += waiting[before];
  const double each_s = seconds_each(now);
  const auto retry_ms = static_cast<int64_t>(std::clamp(each_s, 0.1, 60.0) * 1000);
  absl::Status status = absl::ResourceExhaustedError(absl::StrCat(
      "the queue is full: ", in_flight, " requests are in flight, ", max_sequences_,
      " of them can run at once; ", waiting[0], " interactive, ", waiting[1], " normal and ",
      waiting[2], " batch ones wait; this one would be number ", position, " and wait about ",
      std::ceil(position * each_s), " s; try again in ", (retry_ms + 999) / 1000, " s"));
  status.SetPayload(kRetryAfterMsPayload, absl::Cord(absl::StrCat(retry_ms)));
  return status;
}

void QueueBound::NoteStep(int32_t n_ended, int32_t waiting, Clock::time_point now) {
  constexpr double kSmoothing = 0.2;
  if (anyone_waits_ && n_ended > 0) {
    const double each_s = Seconds(now - last_end_) / n_ended;
    seconds_each_ += (measured_ ? kSmoothing : 1.0) * (each_s - seconds_each_);
    measured_ = true;
  }
  if (n_ended > 0 || !anyone_waits_) last_end_ = now;
  anyone_waits_ = waiting > 0;
}

double QueueBound::seconds_each(Clock::time_point now) const {
  return anyone_waits_ ? std::max(seconds_each_, Seconds(now - last_end_)) : seconds_each_;
}

}  // namespace tandem
