// What others may ask of a batch at work.
#include <algorithm>
#include <utility>

#include "service/batch/batch_runner.h"

namespace tandem {

void BatchRunner::SetInFlight(int32_t most_sequences) {
  std::lock_guard lock(mutex_);
  most_sequences_ = most_sequences;
  changed_.notify_all();
}

void BatchRunner::Pause() {
  std::lock_guard lock(mutex_);
  paused_ = true;
  if (state_.state() == BatchState::kRunning) state_.Become(BatchState::kPaused, Clock::now());
}

void BatchRunner::Resume() {
  std::lock_guard lock(mutex_);
  paused_ = false;
  if (state_.state() == BatchState::kPaused) state_.Become(BatchState::kRunning, Clock::now());
  changed_.notify_all();
}

void BatchRunner::Stop(std::chrono::milliseconds patience) {
  std::lock_guard lock(mutex_);
  StopBy(Clock::now() + patience);
}

void BatchRunner::Abandon(std::chrono::milliseconds patience, std::string code,
                          std::string message) {
  std::lock_guard lock(mutex_);
  abandoned_ = {std::move(code), std::move(message)};
  StopBy(Clock::now() + patience);
}

void BatchRunner::StopBy(Clock::time_point when) {
  const BatchState state = state_.state();
  if (state == BatchState::kDone || state == BatchState::kStopped) return;
  state_.Become(BatchState::kStopping, Clock::now());
  land_by_ = land_by_ ? std::min(*land_by_, when) : when;
  changed_.notify_all();
}

void BatchRunner::Fail(const absl::Status& error) {
  std::lock_guard lock(mutex_);
  state_.Fail(error, Clock::now());
  StopBy(Clock::now());
}

BatchProgress BatchRunner::progress() const {
  std::lock_guard lock(mutex_);
  return state_.Progress(static_cast<int32_t>(flights_.size()), Clock::now());
}

}  // namespace tandem
