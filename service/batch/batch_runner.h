// A batch at work: feeds requests to the engine, keeps as many in flight as told, and hands their
// results on to be kept.
//
// Threads: Run()'s feeds; ends of requests come on the service's writer thread; results are kept by
// GroupCommit's.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "service/batch/batch_call.h"
#include "service/batch/batch_job.h"
#include "service/batch/group_commit.h"
#include "service/batch/job_file.h"
#include "service/batch/job_state.h"
#include "service/batch/result_store.h"

namespace tandem {

class BatchRunner final : public BatchJob {
 public:
  // `order`: places in input.items() of those to be done.
  BatchRunner(const ServiceContext& service, const BatchOptions& options, JobFile input,
              std::unique_ptr<ResultStore> store, std::vector<uint32_t> order,
              const BatchSize& size);

  absl::Status Run() override;
  void Pause() override;
  void Resume() override;
  void Stop(std::chrono::milliseconds patience) override;
  void Abandon(std::chrono::milliseconds patience, std::string code, std::string message) override;
  BatchProgress progress() const override;
  BatchSize size() const override { return size_; }

 private:
  using Clock = JobState::Clock;

  // A request on its way through the engine.
  struct Flight {
    uint32_t place = 0;
    std::string custom_id;
    int32_t sequences = 0;
    std::shared_ptr<BatchRun> run;  // null until it has started
  };
  // One that the engine could not take, or lost.
  struct Retry {
    uint32_t place;
    Clock::time_point not_before;
  };
  struct Attempts {
    int32_t failed = 0;
    absl::Status error;  // of the last one
  };

  void Feed();
  std::optional<uint32_t> NextPlace();
  bool WaitForRoom(int32_t sequences);
  absl::Status Begin(uint32_t place);
  absl::Status BeginCall(uint32_t place, const std::string& custom_id, BatchCall call);
  void Ended(uint64_t flight, BatchEnd end);
  void Settle(const Flight& flight, BatchEnd end);
  bool TryAgain(uint32_t place, const absl::Status& error);
  std::optional<absl::Status> GivenUp(uint32_t place);
  absl::Status Judge(uint32_t place, const std::string& custom_id, const absl::Status& error);
  void Keep(uint32_t place, ResultLine line);
  void Refuse(uint32_t place, const std::string& custom_id, const absl::Status& error,
              const HttpResponse& response);
  void LandAll();
  void WriteAbandoned();
  absl::Status Finish();

  void Fail(const absl::Status& error);
  void StopBy(Clock::time_point when);  // REQUIRES: mutex_ is held
  bool Stopping() const { return land_by_.has_value(); }
  const JobItem& item(uint32_t place) const { return input_.items()[place]; }

  const ServiceContext& service_;
  const BatchOptions options_;
  const JobFile input_;
  const std::unique_ptr<ResultStore> store_;
  const std::vector<uint32_t> order_;
  const BatchSize size_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  JobState state_;
  size_t next_ = 0;  // in order_
  std::map<uint64_t, Flight> flights_;
  uint64_t next_flight_ = 0;
  int32_t sequences_ = 0;  // of all flights
  std::vector<Retry> retries_;
  std::map<uint32_t, Attempts> attempts_;     // by place
  Clock::time_point hold_until_{};            // the engine had no room: no more begin before
  std::optional<Clock::time_point> land_by_;  // no more begin; flights are cancelled then
  bool paused_ = false;
  std::optional<std::pair<std::string, std::string>> abandoned_;  // code and message
  std::vector<bool> kept_;  // by place: it has a result, safe or on its way there

  std::unique_ptr<GroupCommit> commit_;  // while it runs
};

}  // namespace tandem
