#include "placement/plan_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/placement/planner_fixtures.h"

namespace tandem {
namespace {

using testing::HasSubstr;

class Report : public testing::Test {
 protected:
  Report() : machine_(DescribedMachine(2, 750'000'000'000, 230)) {
    machine_.gpu = H100();
    for (MachineNode& node : machine_.nodes) node.peak_gb_per_s = 307.2;
  }
  Plan MakePlan(const Machine& machine) const {
    auto plan = tandem::MakePlan(shape_, identity_, machine, nullptr, goals_);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *plan;
  }
  static void ExpectNarrow(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }

  const ModelShape shape_ = KimiK26Shape();
  const ModelIdentity identity_ = IdentityOf(shape_, "kimi_k25");
  Machine machine_;
  PlanGoals goals_{.context = 65536, .concurrency = 4};
};

TEST_F(Report, SaysEverythingWithinAHundredColumns) {
  const Plan plan = MakePlan(machine_);
  const auto upgrades = NextUpgrades(shape_, identity_, machine_, nullptr, goals_);
  const std::string text = PlanText({shape_, machine_, plan, upgrades});
  ExpectNarrow(text);
  for (const char* part :
       {"kimi_k25, 61 layers", "262,144 tokens x 70,272 B", "hot experts", "node 1",
        "51.7 tok/s at the memory channels' 614 GB/s on paper", "11.4 s to send all experts",
        "1 GiB more GPU memory", "one more memory channel per socket", "PCIe twice as fast",
        "if all are used alike", "RAM bandwidth", "Without a profile"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST_F(Report, WithoutAGpuAndWithADisk) {
  machine_.gpu.reset();
  machine_.rates.disk_gb_per_s = 12;
  for (MachineNode& node : machine_.nodes) node.memory_bytes /= 4;
  machine_.memory_bytes /= 4;
  const Plan plan = MakePlan(machine_);
  const std::string text = PlanText(
      {shape_, machine_, plan, NextUpgrades(shape_, identity_, machine_, nullptr, goals_)});
  ExpectNarrow(text);
  EXPECT_THAT(text, HasSubstr("CPU, in RAM"));
  EXPECT_THAT(text, HasSubstr("the least used"));
  EXPECT_THAT(text, HasSubstr("a disk twice as fast"));
  EXPECT_THAT(text, HasSubstr("fewer on the disk"));
}

TEST_F(Report, JsonHoldsThePlan) {
  const Plan plan = MakePlan(machine_);
  const auto json = nlohmann::json::parse(PlanJson({shape_, machine_, plan}));
  EXPECT_EQ(json["hot_experts"], plan.hot_experts());
  EXPECT_EQ(json["hot"].size(), 61u);
  EXPECT_EQ(json["hot"][7].size(), plan.hot[7].size());
  EXPECT_EQ(json["kv_tokens"], 262144);
  EXPECT_EQ(json["footprint"]["expert_bytes"], 24772608);
  EXPECT_EQ(json["predicted"].size(), plan.rates_at.size());
  EXPECT_EQ(json["predicted"][0]["decode"]["total_s"], plan.rates_at[0].decode.total_s);
  int64_t bytes = 0, expected = 0;
  for (const auto& line : json["budget"]) bytes += line["bytes"].get<int64_t>();
  for (const BudgetLine& line : plan.budget) expected += line.bytes;
  EXPECT_EQ(bytes, expected);
}

TEST_F(Report, ComparisonHasAColumnEach) {
  Machine faster = machine_;
  faster.name = "a machine with a rather long name";
  for (MachineNode& node : faster.nodes) node.read_gb_per_s *= 2;
  const Plan a = MakePlan(machine_), b = MakePlan(faster);
  const std::vector<PlanReport> reports = {{shape_, machine_, a},
                                           {shape_, faster, b, {}, "code.profile"},
                                           {shape_, machine_, a},
                                           {shape_, faster, b},
                                           {shape_, machine_, a}};
  const std::string text = ComparisonText(reports);
  ExpectNarrow(text);
  EXPECT_THAT(text, HasSubstr("code.profile"));
  EXPECT_THAT(text, HasSubstr("decode 32 at 128"));
  EXPECT_EQ(nlohmann::json::parse(ComparisonJson(reports)).size(), 5u);
}

// More memory is never worth less than nothing at the point compared; a channel is worth something
// where RAM is the limit.
TEST_F(Report, UpgradesAreTrue) {
  const auto upgrades = NextUpgrades(shape_, identity_, machine_, nullptr, goals_);
  ASSERT_GE(upgrades.size(), 4u);
  for (const Upgrade& u : upgrades) EXPECT_GE(u.decode_gain, -1e-9) << u.what;
  const Plan now = MakePlan(machine_);
  Machine more = machine_;
  more.gpu->memory_bytes += int64_t{1} << 30;
  EXPECT_EQ(upgrades[0].what, "1 GiB more GPU memory");
  EXPECT_EQ(upgrades[0].note,
            std::to_string(MakePlan(more).hot_experts() - now.hot_experts()) + " more hot experts");
  for (const Upgrade& u : upgrades) {
    if (u.what == "one more memory channel per socket") {
      EXPECT_GT(u.decode_gain, 0.08);
      EXPECT_LT(u.decode_gain, 2 * 38.4 / 614.4);
    }
  }
}

// Measured curves speed up with memory too, down to what arithmetic takes.
TEST_F(Report, UpgradesReachMeasuredCurves) {
  machine_.rates.experts.push_back({.hidden = 7168,
                                    .intermediate = 2048,
                                    .points = {{1, 54e-6}, {8, 55e-6}, {64, 300e-6}},
                                    .call_s = 0});
  for (const Upgrade& u : NextUpgrades(shape_, identity_, machine_, nullptr, goals_)) {
    if (u.what == "one more memory channel per socket") {
      EXPECT_GT(u.decode_gain, 0.05);
    }
  }
}

}  // namespace
}  // namespace tandem
