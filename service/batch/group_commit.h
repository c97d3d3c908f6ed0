// Brings results to the disk in groups, on a thread of its own: a group is what came within a
// quarter of a second, or 4 MiB of it. So thousands of small results cost a few syncs.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/status.h"
#include "service/batch/result_store.h"

namespace tandem {

class GroupCommit {
 public:
  // Of the results that are safe now; on the own thread. `on_error` at most once: from then on
  // results are dropped.
  struct Callbacks {
    std::function<void(std::span<const Result>)> on_commit;
    std::function<void(const absl::Status&)> on_error;
  };
  // `store` must outlive it, and is its alone meanwhile.
  GroupCommit(ResultStore& store, Callbacks callbacks);
  ~GroupCommit();  // flushes

  void Add(Result result);  // any thread; does not block
  // Until all that was added before is safe, or lost by an error.
  absl::Status Flush();
  int64_t waiting_bytes() const;

 private:
  void Run();
  std::vector<Result> NextGroup();  // empty: closed

  ResultStore& store_;
  const Callbacks callbacks_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Result> waiting_;
  int64_t waiting_bytes_ = 0;  // and of the group that is being written
  bool busy_ = false, flush_ = false, closed_ = false;
  absl::Status error_;
  std::thread thread_;
};

}  // namespace tandem
