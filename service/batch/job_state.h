// Where a batch stands: what its progress is made from. Guarded by the job's mutex.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "service/batch/batch_job.h"

namespace tandem {

class JobState {
 public:
  using Clock = std::chrono::steady_clock;

  // `work` of what is left to do.
  JobState(int64_t requests, int64_t work) : work_(work) { progress_.requests = requests; }

  BatchState state() const { return progress_.state; }
  void Become(BatchState state, Clock::time_point now);
  void Fail(const absl::Status& error, Clock::time_point now);
  void Resumed(int64_t done, const std::map<std::string, int64_t>& by_code);
  void Done(int64_t work, const std::string& code);  // `code`: "" if it has not failed
  void Used(int64_t prompt_tokens, int64_t cached_tokens, int64_t completion_tokens);

  BatchProgress Progress(int32_t in_flight, Clock::time_point now) const;

 private:
  double RunningSeconds(Clock::time_point now) const;

  BatchProgress progress_;
  const int64_t work_;
  int64_t work_done_ = 0;
  double ran_s_ = 0;           // until `since_`
  Clock::time_point since_{};  // it runs since
};

}  // namespace tandem
