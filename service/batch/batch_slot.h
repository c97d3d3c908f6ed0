// A batch at work, as a server sees it. Guarded by the mutex of its BatchQueue, but for the thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "service/batch/batch_job.h"

namespace tandem {

class BatchSlot {
 public:
  BatchSlot(std::string id, std::string owner) : id_(std::move(id)), owner_(std::move(owner)) {}

  const std::string& id() const { return id_; }
  const std::string& owner() const { return owner_; }
  std::chrono::steady_clock::time_point since() const { return since_; }

  // The job, once it is open; it is told what was asked of it meanwhile.
  void SetJob(std::unique_ptr<BatchJob> job);
  BatchJob* job() const { return job_.get(); }
  std::unique_ptr<BatchJob> TakeJob() { return std::move(job_); }

  void Stop(std::chrono::milliseconds patience);
  // Once; later calls do nothing.
  void Abandon(std::chrono::milliseconds patience, const std::string& code,
               const std::string& message);
  bool leaving() const { return stop_.has_value() || abandoned_; }

  // Requests of this run.
  int64_t done() const;
  int64_t failed() const;

  std::thread thread;

 private:
  const std::string id_, owner_;
  const std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  std::unique_ptr<BatchJob> job_;
  BatchProgress first_;  // as it was opened
  std::optional<std::chrono::milliseconds> stop_;
  bool abandoned_ = false;
  std::chrono::milliseconds abandon_patience_{};
  std::string code_, message_;
};

}  // namespace tandem
