// Plans for Kimi K2.6, on described and on shipped machines.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "placement/machine_file.h"
#include "placement/planner.h"
#include "tests/placement/planner_fixtures.h"

namespace tandem {
namespace {

using testing::HasSubstr;

absl::StatusOr<Plan> PlanKimi(const Machine& machine, const PlanGoals& goals = {}) {
  const ModelShape shape = KimiK26Shape();
  return MakePlan(shape, IdentityOf(shape, "kimi_k25"), machine, nullptr, goals);
}

// About 1,400 hot experts beside 256K of cache on 80 GB, with workspaces of short steps.
TEST(PlanKimi, EightyGigabytes) {
  Machine machine = DescribedMachine(2, 750'000'000'000, 230);
  machine.gpu = H100();
  const auto plan = PlanKimi(machine, {.context = 262144, .stream_buffer_bytes = 0});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_NEAR(static_cast<double>(plan->hot_experts()), 1400, 0.02 * 1400);
  EXPECT_NEAR(plan->decode_hit_rate, 0.06, 0.005);
  size_t least = 384, most = 0;
  for (size_t l = 1; l < 61; ++l) {
    least = std::min(least, plan->hot[l].size());
    most = std::max(most, plan->hot[l].size());
  }
  EXPECT_LE(most - least, 1);  // without a profile no layer is preferred
  EXPECT_THAT(plan->notes, testing::Contains(HasSubstr("Without a profile")));
}

TEST(PlanKimi, RefusalIsASentence) {
  const auto plan = PlanKimi(DescribedMachine(1, 512'000'000'000, 300));
  ASSERT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(plan.status().message()),
              testing::AllOf(HasSubstr("does not fit machine described"),
                             HasSubstr("GB of RAM are missing"), HasSubstr("more RAM"),
                             HasSubstr("a GPU with"), HasSubstr("NVMe")));
}

TEST(PlanKimi, ProfilesOfOtherModelsAreRefused) {
  const ModelShape shape = KimiK26Shape();
  ExpertProfile profile;
  profile.model = IdentityOf(shape, "kimi_k25");
  profile.model.experts = 256;
  const auto plan = MakePlan(shape, IdentityOf(shape, "kimi_k25"),
                             DescribedMachine(2, 750'000'000'000, 230), &profile, {});
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("256 experts per layer"));
}

TEST(PlanKimi, BadGoalsAreNamed) {
  const Machine machine = DescribedMachine(2, 750'000'000'000, 230);
  const auto message = [&](const PlanGoals& goals) {
    return std::string(PlanKimi(machine, goals).status().message());
  };
  EXPECT_THAT(message({.context = 0}), HasSubstr("the context is 0"));
  EXPECT_THAT(message({.context = 300000}), HasSubstr("262144 positions"));
  EXPECT_THAT(message({.concurrency = 0}), HasSubstr("the concurrency is 0"));
  EXPECT_THAT(message({.weight_bits = 4}), HasSubstr("4 bits"));
}

// Experts used less lie on the disk, used more on the GPU.
TEST(PlanKimi, UseDecidesTheOrder) {
  const ModelShape shape = KimiK26Shape();
  ExpertProfile profile;
  profile.model = IdentityOf(shape, "kimi_k25");
  LabelProfile label;
  RoutingCounts& counts = label.counts[0][static_cast<int>(Phase::kDecode)];
  counts.tokens = 1000;
  counts.hits.assign(60 * 384, 0);
  counts.mass.assign(60 * 384, 0.0);
  for (int64_t l = 0; l < 60; ++l)
    for (int64_t e = 0; e < 384; ++e) counts.hits[l * 384 + e] = (e * 7 + l) % 384 / 9;
  profile.labels.push_back(label);
  Machine machine = DescribedMachine(2, 200'000'000'000, 230);
  machine.gpu = H100();
  machine.rates.disk_gb_per_s = 10;
  const auto plan = MakePlan(shape, profile.model, machine, &profile, {});
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_GT(plan->hot_experts(), 0);
  ASSERT_GT(plan->disk_experts(), 0);
  int64_t least_hot = 1000, most_disk = 0;
  for (size_t l = 1; l < 61; ++l) {
    for (const ExpertId e : plan->hot[l])
      least_hot = std::min(least_hot, counts.hits[(l - 1) * 384 + e.value]);
    for (const ExpertId e : plan->on_disk[l])
      most_disk = std::max(most_disk, counts.hits[(l - 1) * 384 + e.value]);
  }
  EXPECT_GT(least_hot, most_disk);
  EXPECT_GT(plan->decode_hit_rate, 2.0 * plan->hot_experts() / (60 * 384) * 0.8);
}

// All shipped machines, each in under a second on one core; paper's roofs agree.
TEST(PlanKimi, ShippedMachines) {
  ASSERT_GE(ShippedMachines().size(), 5u);
  for (const std::string& name : ShippedMachines()) {
    SCOPED_TRACE(name);
    const auto machine = LoadMachine(name);
    ASSERT_TRUE(machine.ok()) << machine.status();
    const auto begin = std::chrono::steady_clock::now();
    const auto plan = PlanKimi(*machine);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(took.count(), 1);
    if (!plan.ok()) {
      EXPECT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted) << plan.status();
      continue;
    }
    for (const RatePoint& point : plan->rates_at) {
      const double roof = machine->peak_gb_per_s() * 1e9 / (60 * 8 * 24'772'608.0);
      if (point.batch == 1 && plan->disk_experts() == 0) {
        EXPECT_LT(point.decode_tok_per_s * (1 - plan->decode_hit_rate), roof);
        EXPECT_GT(point.decode_tok_per_s, 0.1 * roof);
      }
    }
  }
}

}  // namespace
}  // namespace tandem
