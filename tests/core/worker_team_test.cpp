#include "core/worker_team.h"

#include <gtest/gtest.h>

#include <numeric>

namespace tandem {
namespace {

TEST(WorkerTeam, RunsEveryWorkerOnceForManyJobs) {
  for (int workers : {1, 2, 3, 7}) {
    WorkerTeam team({.workers = workers});
    std::vector<int> calls(workers, 0);
    for (int job = 0; job < 2000; ++job) team.Run([&](int worker) { ++calls[worker]; });
    for (int c : calls) EXPECT_EQ(c, 2000) << workers << " workers";
  }
}

TEST(WorkerTeam, ParallelForCoversEachItemOnce) {
  WorkerTeam team({.workers = 3});
  for (int64_t n : {0, 1, 5, 64, 1000}) {
    for (int64_t grain : {1, 7, 64}) {
      std::vector<std::atomic<int>> hits(n);
      team.ParallelFor(n, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) hits[i].fetch_add(1);
      });
      for (int64_t i = 0; i < n; ++i) EXPECT_EQ(hits[i].load(), 1) << "item " << i << " of " << n;
    }
  }
}

TEST(WorkerTeam, WakesParkedHelpers) {
  WorkerTeam team({.workers = 2, .spin_us = 1});
  for (int job = 0; job < 5; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> sum{0};
    team.Run([&](int worker) { sum += worker + 1; });
    EXPECT_EQ(sum.load(), 3);
  }
}

}  // namespace
}  // namespace tandem
