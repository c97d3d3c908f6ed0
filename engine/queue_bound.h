// How many requests may be in flight, at what pace they end, and so how long a new one would wait.
// The engine guards it by its mutex.
#pragma once

#include <array>
#include <cstdint>

#include "engine/sequence.h"

namespace tandem {

class QueueBound {
 public:
  QueueBound(int32_t max_sequences, int32_t max_queue)
      : max_sequences_(max_sequences), max_queue_(max_queue) {}

  // RESOURCE_EXHAUSTED with kRetryAfterMsPayload if so many are in flight that one more of this
  // priority is refused: max_sequences + max_queue; interactive requests may be an eighth of
  // max_queue more, one at least.
  absl::Status Check(Priority priority, int32_t in_flight,
                     const std::array<int32_t, kPriorities>& waiting, Clock::time_point now) const;

  // So many requests have ended since the last call; so many wait.
  void NoteStep(int32_t n_ended, int32_t waiting, Clock::time_point now);
  // Between two admissions, by the recent pace.
  double seconds_each(Clock::time_point now) const;

 private:
  int32_t max_sequences_, max_queue_;
  // The pace is that of a full house: only measured while requests wait.
  bool anyone_waits_ = false;
  bool measured_ = false;
  double seconds_each_ = 1.0;
  Clock::time_point last_end_{};
};

}  // namespace tandem
