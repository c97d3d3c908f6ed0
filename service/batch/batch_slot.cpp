#include "service/batch/batch_slot.h"

#include <algorithm>
#include <utility>

namespace tandem {

void BatchSlot::SetJob(std::unique_ptr<BatchJob> job) {
  job_ = std::move(job);
  first_ = job_->progress();
  if (abandoned_) job_->Abandon(abandon_patience_, code_, message_);
  if (stop_) job_->Stop(*stop_);
}

void BatchSlot::Stop(std::chrono::milliseconds patience) {
  stop_ = stop_ ? std::min(*stop_, patience) : patience;
  if (job_ != nullptr) job_->Stop(patience);
}

void BatchSlot::Abandon(std::chrono::milliseconds patience, const std::string& code,
                        const std::string& message) {
  if (std::exchange(abandoned_, true)) return;
  abandon_patience_ = patience;
  code_ = code;
  message_ = message;
  if (job_ != nullptr) job_->Abandon(patience, code, message);
}

int64_t BatchSlot::done() const {
  return job_ == nullptr ? 0 : job_->progress().done - first_.done;
}

int64_t BatchSlot::failed() const {
  return job_ == nullptr ? 0 : job_->progress().failed - first_.failed;
}

}  // namespace tandem
