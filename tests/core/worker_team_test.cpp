#include "core/worker_team.h"

#include <gtest/gtest.h>

#include <numeric>

#include "absl/strings/str_cat.h"

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

TEST(WorkerTeam, SeatsFollowTheTopology) {
  const auto topology = SyntheticTopology("numa:3 core:2 pu:2");
  ASSERT_TRUE(topology.ok()) << topology.status();
  const auto sizes = [&](int workers) {
    WorkerTeam team({.workers = workers, .topology = *topology});
    std::vector<int> found;
    for (int node = 0; node < team.nodes(); ++node) found.push_back(team.node_size(node));
    for (int worker = 0, node = 0, rank = 0; worker < team.size(); ++worker, ++rank) {
      if (rank == team.node_size(node)) ++node, rank = 0;
      EXPECT_EQ(team.seat(worker).node, node);
      EXPECT_EQ(team.seat(worker).rank, rank);
    }
    return found;
  };
  EXPECT_EQ(sizes(0), (std::vector<int>{2, 2, 2}));
  EXPECT_EQ(sizes(5), (std::vector<int>{2, 1, 2}));
  EXPECT_EQ(sizes(1), (std::vector<int>{1}));  // nodes without workers do not count
  EXPECT_EQ(sizes(9), (std::vector<int>{3, 3, 3}));
}

TEST(WorkerTeam, NodeBarrierHoldsBackTheNodeOnly) {
  const auto topology = SyntheticTopology("numa:2 core:3 pu:1");
  ASSERT_TRUE(topology.ok()) << topology.status();
  WorkerTeam team({.topology = *topology});
  for (int job = 0; job < 200; ++job) {
    std::atomic<int> before[2] = {}, wrong{0};
    team.Run([&](int worker) {
      const int node = team.seat(worker).node;
      for (int phase = 1; phase <= 3; ++phase) {
        ++before[node];
        team.NodeBarrier(worker);
        if (before[node] < 3 * phase) ++wrong;
      }
    });
    EXPECT_EQ(wrong.load(), 0);
  }
}

TEST(WorkerTeam, WarnsOfMoreWorkersThanCores) {
  WorkerTeam crowded({.workers = PhysicalCores() + 1});
  ASSERT_FALSE(crowded.warnings().empty());
  EXPECT_NE(crowded.warnings().front().find("share"), std::string::npos);
  EXPECT_EQ(crowded.Describe(),
            absl::StrCat(PhysicalCores() + 1, " workers on ", crowded.nodes(),
                         crowded.nodes() == 1 ? " node" : " nodes", ", not pinned"));
}

TEST(Topology, SyntheticDescriptionsAreRead) {
  const auto two = SyntheticTopology("numa:2 core:4 pu:2");
  ASSERT_TRUE(two.ok()) << two.status();
  ASSERT_EQ(two->nodes.size(), 2u);
  EXPECT_EQ(two->cores(), 8);
  EXPECT_EQ(two->nodes[1].cpus, (std::vector<int>{8, 10, 12, 14}));
  EXPECT_EQ(SyntheticTopology("two sockets").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Topology, ThisMachineHasACoreForEachWorker) {
  const CpuTopology& machine = DetectTopology();
  EXPECT_FALSE(machine.synthetic);
  EXPECT_EQ(machine.cores(), PhysicalCores());
  EXPECT_GE(machine.cores(), 1);
}

}  // namespace
}  // namespace tandem
