// Several NUMA nodes, described to hwloc: what lies where, and that it changes nothing but the
// order of summation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/worker_team.h"
#include "cpu_experts/experts.h"
#include "cpu_experts/shards.h"
#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {
namespace {

using testing::HasSubstr;

constexpr uint64_t kSeed = 20260311;
constexpr ExpertActivations kInt8x2 = ExpertActivations::kInt8x2;

WorkerTeam TeamOf(const std::string& topology) {
  const auto described = SyntheticTopology(topology);
  EXPECT_TRUE(described.ok()) << described.status();
  return WorkerTeam({.topology = *described});
}

ExpertsShape ShapeOf(const MoeCaseShape& s) {
  return {s.hidden, s.intermediate, s.top_k, {s.experts}};
}

std::unique_ptr<CpuExperts> MakeExperts(const MoeCase& c, WorkerTeam& team,
                                        ExpertPlacements placements = {}) {
  CpuExpertsOptions options;
  options.activations = kInt8x2;
  options.max_tokens = c.shape.tokens;
  options.placements = std::move(placements);
  auto experts = CpuExperts::Create(ShapeOf(c.shape), options, team);
  EXPECT_TRUE(experts.ok()) << experts.status();
  for (int e = 0; e < c.shape.experts; ++e)
    EXPECT_EQ((*experts)->LoadExpert({0}, {e}, c.expert(e)), absl::OkStatus());
  return std::move(*experts);
}

std::vector<float> Forward(CpuExperts& experts, const MoeCase& c) {
  std::vector<float> y(int64_t{c.shape.tokens} * c.shape.hidden,
                       std::numeric_limits<float>::quiet_NaN());
  experts.Forward({0}, c.routed(), {y.data(), {c.shape.tokens, c.shape.hidden}});
  return y;
}

// The unsplit reference: one worker on one node computes intermediate columns [begin, end) as
// experts of their own.
std::vector<float> ColumnsAlone(const MoeCase& c, int64_t begin, int64_t end) {
  WorkerTeam team({.workers = 1});
  ExpertsShape shape = ShapeOf(c.shape);
  shape.intermediate = static_cast<int32_t>(end - begin);
  auto experts = CpuExperts::Create(shape,
                                    {.activations = kInt8x2,
                                     .kernel = {},
                                     .max_tokens = c.shape.tokens,
                                     .reserve = true,
                                     .placements = {}},
                                    team);
  EXPECT_TRUE(experts.ok()) << experts.status();
  for (int e = 0; e < c.shape.experts; ++e)
    EXPECT_EQ((*experts)->LoadExpert({0}, {e}, SliceColumns(c.expert(e), begin, end)),
              absl::OkStatus());
  return Forward(**experts, c);
}

void Add(const std::vector<float>& part, std::vector<float>& sum) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
}

struct NodesCase {
  const char* topology;
  MoeCaseShape shape;
};
const NodesCase kCases[] = {
    {"numa:2 core:1 pu:1", {"even", 5, 96, 128, 6, 3}},
    {"numa:2 core:2 pu:2", {"uneven", 1, 64, 96, 4, 4}},
    {"numa:3 core:1 pu:1", {"three_nodes", 40, 160, 256, 5, 2}},
    {"numa:6 core:1 pu:1", {"six_nodes", 3, 32, 224, 7, 3, Routing::kSomeSkipped}},
    {"numa:4 core:3 pu:1", {"one_expert", 17, 64, 128, 3, 1, Routing::kOneExpert}},
};

TEST(Nodes, ShardsAddUpInTheOrderOfNodesBitForBit) {
  for (const NodesCase& nodes : kCases) {
    const MoeCase c(nodes.shape, kSeed);
    WorkerTeam team = TeamOf(nodes.topology);
    const auto experts = MakeExperts(c, team);
    EXPECT_EQ(experts->n_shards(), team.nodes());
    const std::vector<float> y = Forward(*experts, c);
    const std::vector<int64_t> cuts = ShardColumns(c.shape.intermediate, team.nodes());
    std::vector<float> expected = ColumnsAlone(c, cuts[0], cuts[1]);
    for (int n = 1; n < team.nodes(); ++n) Add(ColumnsAlone(c, cuts[n], cuts[n + 1]), expected);
    EXPECT_EQ(y, expected) << nodes.shape.name << " on " << nodes.topology;
    EXPECT_EQ(Compare(Reference(c, kInt8x2), y), "") << nodes.shape.name;
  }
}

TEST(Nodes, WholeExpertsAddUpInTheOrderOfNodesBitForBit) {
  for (const NodesCase& nodes : kCases) {
    const MoeCase c(nodes.shape, kSeed);
    WorkerTeam team = TeamOf(nodes.topology);
    ExpertPlacements placements(1);
    for (int e = 0; e < c.shape.experts; ++e)
      placements[0].push_back({ExpertHome::kWhole, (e * 5 + 1) % team.nodes()});
    const auto experts = MakeExperts(c, team, placements);
    EXPECT_EQ(experts->n_shards(), 0);

    WorkerTeam alone({.workers = 1});
    const auto all = MakeExperts(c, alone);
    std::vector<float> expected;
    for (int n = 0; n < team.nodes(); ++n) {
      MoeCase here = c;
      for (int32_t& id : here.ids)
        if (id >= 0 && placements[0][id].node != n) id = -1;
      const std::vector<float> part = Forward(*all, here);
      n == 0 ? void(expected = part) : Add(part, expected);
    }
    EXPECT_EQ(Forward(*experts, c), expected) << nodes.shape.name << " on " << nodes.topology;
  }
}

// Replicas take turns by the token's own row: the same bits alone and in company.
TEST(Nodes, ReplicasDoNotMakeBitsDependOnTheBatch) {
  for (const NodesCase& nodes : kCases) {
    const MoeCase c(nodes.shape, kSeed);
    WorkerTeam team = TeamOf(nodes.topology);
    ExpertPlacements placements(1);
    for (int e = 0; e < c.shape.experts; ++e)
      placements[0].push_back({e % 3 == 0 ? ExpertHome::kSharded : ExpertHome::kReplicated});
    const auto experts = MakeExperts(c, team, placements);
    const std::vector<float> y = Forward(*experts, c);
    EXPECT_EQ(Compare(Reference(c, kInt8x2), y), "") << nodes.shape.name;
    for (int t = 0; t < c.shape.tokens; ++t) {
      const std::vector<float> alone = Forward(*experts, c.Select({t}));
      EXPECT_EQ(alone, std::vector<float>(y.begin() + t * c.shape.hidden,
                                          y.begin() + (t + 1) * c.shape.hidden))
          << nodes.shape.name << ", token " << t;
    }
  }
}

TEST(Nodes, BitsDoNotDependOnTheWorkersOfANode) {
  const MoeCase c({"workers", 9, 96, 96, 5, 3}, kSeed);
  WorkerTeam few = TeamOf("numa:2 core:1 pu:1"), many = TeamOf("numa:2 core:5 pu:1");
  EXPECT_EQ(Forward(*MakeExperts(c, few), c), Forward(*MakeExperts(c, many), c));
}

TEST(Nodes, ExpertsTooNarrowToCutAreDealtOutWhole) {
  const MoeCase c({"narrow", 6, 64, 32, 5, 2}, kSeed);
  WorkerTeam team = TeamOf("numa:3 core:1 pu:1");
  const auto experts = MakeExperts(c, team);
  EXPECT_EQ(experts->n_shards(), 0);
  EXPECT_EQ(Compare(Reference(c, kInt8x2), Forward(*experts, c)), "");
}

TEST(Nodes, PlacementsThatDoNotFitAreRefused) {
  const MoeCase c({"refused", 1, 64, 64, 2, 1}, kSeed);
  WorkerTeam team = TeamOf("numa:2 core:1 pu:1");
  const auto refusal = [&](ExpertPlacements placements) {
    return std::string(CpuExperts::Create(ShapeOf(c.shape),
                                          {.activations = kInt8x2,
                                           .kernel = {},
                                           .max_tokens = 1,
                                           .reserve = true,
                                           .placements = std::move(placements)},
                                          team)
                           .status()
                           .message());
  };
  EXPECT_THAT(refusal({{{}, {}}, {}}), HasSubstr("2 layers for a model of 1"));
  EXPECT_THAT(refusal({{{}}}), HasSubstr("2 experts, its placement 1"));
  EXPECT_THAT(refusal({{{}, {ExpertHome::kWhole, 2}}}), HasSubstr("node 2 of 2"));
}

}  // namespace
}  // namespace tandem::test
