#include "service/batch/job_state.h"

#include <utility>

namespace tandem {
namespace {

// Before that a pace says nothing.
constexpr double kLeastSeconds = 2, kLeastShare = 0.005;

bool Runs(BatchState state) {
  return state == BatchState::kRunning || state == BatchState::kStopping;
}

}  // namespace

const char* Name(BatchState state) {
  switch (state) {
    case BatchState::kOpen:
      return "open";
    case BatchState::kRunning:
      return "running";
    case BatchState::kPaused:
      return "paused";
    case BatchState::kStopping:
      return "stopping";
    case BatchState::kStopped:
      return "stopped";
    case BatchState::kDone:
      return "done";
    case BatchState::kFailed:
      break;
  }
  return "failed";
}

void JobState::Become(BatchState state, Clock::time_point now) {
  if (progress_.state == BatchState::kFailed) return;
  ran_s_ = RunningSeconds(now);
  since_ = now;
  progress_.state = state;
}

void JobState::Fail(const absl::Status& error, Clock::time_point now) {
  Become(BatchState::kFailed, now);
  if (progress_.error.ok()) progress_.error = error;
}

void JobState::Resumed(int64_t done, const std::map<std::string, int64_t>& by_code) {
  progress_.done = progress_.resumed = done;
  progress_.by_code = by_code;
  for (const auto& [code, count] : by_code) progress_.failed += count;
}

void JobState::Done(int64_t work, const std::string& code) {
  ++progress_.done;
  work_done_ += work;
  if (code.empty()) return;
  ++progress_.failed;
  ++progress_.by_code[code];
}

void JobState::Used(int64_t prompt_tokens, int64_t cached_tokens, int64_t completion_tokens) {
  progress_.prompt_tokens += prompt_tokens;
  progress_.cached_tokens += cached_tokens;
  progress_.completion_tokens += completion_tokens;
}

double JobState::RunningSeconds(Clock::time_point now) const {
  if (!Runs(progress_.state)) return ran_s_;
  return ran_s_ + std::chrono::duration<double>(now - since_).count();
}

BatchProgress JobState::Progress(int32_t in_flight, Clock::time_point now) const {
  BatchProgress progress = progress_;
  progress.in_flight = in_flight;
  progress.running_s = RunningSeconds(now);
  progress.work_done = work_ > 0 ? static_cast<double>(work_done_) / static_cast<double>(work_) : 1;
  if (progress.done == progress.requests) {
    progress.left_s = 0;
  } else if (progress.running_s > kLeastSeconds && progress.work_done > kLeastShare) {
    progress.left_s = progress.running_s * (1 / progress.work_done - 1);
  }
  return progress;
}

}  // namespace tandem
