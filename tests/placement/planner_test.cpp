// What every plan must keep, over thousands of random models, machines, profiles and goals.
#include "placement/planner.h"

#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>

#include "placement/plan_file.h"
#include "placement/plan_limits.h"
#include "placement/plan_report.h"
#include "tests/placement/planner_fixtures.h"
#include "tests/placement/random_cases.h"

namespace tandem {
namespace {

constexpr uint32_t kSeed = 20260301;

std::map<std::string, int64_t> BytesOfPlaces(const Plan& plan) {
  std::map<std::string, int64_t> bytes;
  for (const BudgetLine& line : plan.budget) {
    EXPECT_GE(line.bytes, 0) << line.what;
    bytes[line.place] += line.bytes;
  }
  return bytes;
}

// Of the step that the planner makes short.
double StepSeconds(const Plan& plan) {
  const bool latency = plan.goals.objective == PlanObjective::kLatency;
  const int64_t context =
      latency ? plan.goals.context : std::min<int64_t>(plan.goals.context, 4096);
  const int64_t rows =
      latency ? 1 : std::min<int64_t>(256, plan.goals.context * plan.goals.concurrency / context);
  for (const RatePoint& point : plan.rates_at)
    if (point.context == context && point.batch == std::max<int64_t>(plan.goals.concurrency, rows))
      return point.decode.total_s;
  return 0;
}

void ExpectBudgetsKept(const Case& c, const Plan& plan) {
  int64_t ram = 0;
  for (const auto& [place, bytes] : BytesOfPlaces(plan)) {
    if (place == "gpu") {
      EXPECT_LE(bytes, c.machine.gpu->memory_bytes - c.goals.vram_reserve_bytes);
    } else if (place.starts_with("node ")) {
      EXPECT_LE(bytes, c.machine.nodes[std::stoi(place.substr(5))].memory_bytes);
      ram += bytes;
    } else {
      EXPECT_EQ(place, "disk");
      EXPECT_GT(c.machine.rates.disk_gb_per_s, 0);
    }
  }
  EXPECT_LE(ram, c.machine.memory_bytes - c.goals.ram_reserve_bytes);
}

// Every expert lies somewhere and the lines pay for it.
void ExpectExpertsPlaced(const Case& c, const Plan& plan) {
  EXPECT_TRUE(CheckPlan("plan", plan).ok()) << CheckPlan("plan", plan);  // ids, no duplicates
  const int64_t all = int64_t{c.shape.moe_layers()} * c.shape.experts;
  int64_t hot_bytes = 0, ram_bytes = 0, disk_bytes = 0;
  for (const BudgetLine& line : plan.budget) {
    if (line.what == "hot experts") hot_bytes += line.bytes;
    if (line.what == "routed experts")
      (line.place == "disk" ? disk_bytes : ram_bytes) += line.bytes;
  }
  const double expert = 3.0 * c.shape.hidden * c.shape.expert_intermediate * 0.5625;
  EXPECT_GE(hot_bytes, static_cast<int64_t>(plan.hot_experts() * expert));
  EXPECT_GE(disk_bytes, static_cast<int64_t>(plan.disk_experts() * expert));
  const int64_t in_ram =
      all - plan.disk_experts() - (plan.hot_experts_leave_ram ? plan.hot_experts() : 0);
  EXPECT_GE(ram_bytes + 1, static_cast<int64_t>(in_ram * expert));
}

TEST(PlannerProperties, BudgetsAreKeptAndAllExpertsPlaced) {
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  int planned = 0, with_hot = 0, with_disk = 0, left_ram = 0, cpu_only = 0, not_cut = 0;
  for (int i = 0; i < 3000; ++i) {
    SCOPED_TRACE(i);
    const Case c = random.Next();
    const auto plan = c.MakePlan();
    if (!plan.ok()) {
      ASSERT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted) << plan.status();
      continue;
    }
    ++planned;
    with_hot += plan->hot_experts() > 0, with_disk += plan->disk_experts() > 0;
    left_ram += plan->hot_experts_leave_ram, cpu_only += !plan->gpu, not_cut += !plan->numa.empty();
    ExpectBudgetsKept(c, *plan);
    ExpectExpertsPlaced(c, *plan);
    ASSERT_FALSE(plan->rates_at.empty());
    for (const RatePoint& point : plan->rates_at) {
      EXPECT_LE(point.batch * point.context, plan->kv_tokens);
      EXPECT_GT(point.decode_tok_per_s, 0);
      EXPECT_GT(point.prefill_tok_per_s, 0);
      EXPECT_FALSE(point.decode.limit.empty());
    }
    if (testing::Test::HasFailure()) return;
  }
  // The cases are worth something only if all of this happens.
  EXPECT_GT(planned, 1000);
  EXPECT_GT(3000 - planned, 100);
  EXPECT_GT(with_hot, 200);
  EXPECT_GT(with_disk, 50);
  EXPECT_GT(left_ram, 50);
  EXPECT_GT(cpu_only, 200);
  EXPECT_GT(not_cut, 20);
}

TEST(PlannerProperties, SameInputSamePlan) {
  Random random(kSeed + 1);
  for (int i = 0; i < 200; ++i) {
    const Case c = random.Next();
    const auto a = c.MakePlan(), b = c.MakePlan();
    ASSERT_EQ(a.status(), b.status());
    if (!a.ok()) continue;
    ASSERT_EQ(PlanJson({c.shape, c.machine, *a}), PlanJson({c.shape, c.machine, *b})) << i;
  }
}

// More of anything: fits at least as well, and the step that was planned for is no longer.
TEST(PlannerProperties, MoreHardwareIsNeverSlower) {
  SCOPED_TRACE(kSeed + 2);
  Random random(kSeed + 2);
  int compared = 0, faster = 0;
  for (int i = 0; i < 2500; ++i) {
    SCOPED_TRACE(i);
    const Case c = random.Next();
    Machine more = c.machine;
    const int kind = static_cast<int>(random.Int(0, 6));
    const double factor = random.Real(1.001, 3);
    if (kind == 0) more = WithMoreRam(more, static_cast<int64_t>(random.Real(1e5, 5e8)));
    if (kind == 1)
      for (MachineNode& node : more.nodes) node.read_gb_per_s *= factor;
    if (kind == 2) more.nodes[0].read_gb_per_s *= factor;
    if (kind == 3) more.rates.expert_gops *= factor;
    if (kind == 4 && more.rates.disk_gb_per_s > 0) more.rates.disk_gb_per_s *= factor;
    if (kind >= 5 && !more.gpu) continue;
    if (kind == 5) more.gpu->memory_bytes += static_cast<int64_t>(random.Real(1e5, 1e9));
    if (kind == 6) more.gpu->hbm_gb_per_s *= factor;
    const auto before = c.MakePlan(), after = c.MakePlanFor(more);
    if (!before.ok()) continue;
    ASSERT_TRUE(after.ok()) << after.status();
    ++compared;
    const double was = StepSeconds(*before), is = StepSeconds(*after);
    ASSERT_GT(was, 0);
    EXPECT_LE(is, was * (1 + 1e-9)) << "kind " << kind;
    faster += is < was * (1 - 1e-9);
    if (kind == 5 && before->gpu && after->gpu) {  // keeps all that it had
      for (size_t l = 0; l < before->hot.size(); ++l) {
        const std::set<ExpertId> now(after->hot[l].begin(), after->hot[l].end());
        for (const ExpertId expert : before->hot[l]) EXPECT_TRUE(now.contains(expert));
      }
    }
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(compared, 800);
  EXPECT_GT(faster, 300);
}

// Told on its own tokens, no other choice of as many experts takes more of them: ranked by another
// profile, or the same number from every layer. Machines on which the CPU is the longer side, as
// otherwise a layer stops taking experts for reasons of time.
TEST(PlannerProperties, ABetterProfileNeverLowersTheHitRate) {
  SCOPED_TRACE(kSeed + 3);
  Random random(kSeed + 3);
  int compared = 0;
  for (int i = 0; compared < 400 && i < 4000; ++i) {
    SCOPED_TRACE(i);
    Case c = random.Next();
    if (!c.machine.gpu) continue;
    c.machine.gpu->hbm_gb_per_s = 1e6, c.machine.gpu->int4_tflops = 1e5;
    c.machine.gpu->bf16_tflops = 1e5, c.goals.use_gpu = true;
    c.profile = random.Profile(c.shape);
    Case other = c, none = c;
    other.profile = random.Profile(c.shape);
    none.profile = ExpertProfile{.model = c.identity()};
    const auto best = c.MakePlan(), by_other = other.MakePlan(), by_none = none.MakePlan();
    if (!best.ok() || best->hot_experts() == 0 || !by_other->gpu || !by_none->gpu) continue;
    const RoutingCounts& counts = c.profile.labels[0].of(Split::kTrain, Phase::kDecode);
    for (const auto* rival : {&*by_other, &*by_none}) {
      if (rival->hot_experts() != best->hot_experts()) continue;
      double hits = 0, all = 0;
      for (const int64_t n : counts.hits) all += static_cast<double>(n);
      for (size_t l = 0; l < rival->hot.size(); ++l)
        for (const ExpertId e : rival->hot[l])
          hits += static_cast<double>(
              counts.hits[(l - c.shape.dense_layers) * c.shape.experts + e.value]);
      EXPECT_GE(best->decode_hit_rate + 1e-12, hits / all);
      ++compared;
    }
    EXPECT_FALSE(best->hit_rate_held_out);
  }
  EXPECT_GE(compared, 400);
}

// Each remedy of a refusal, on its own, makes the plan fit; so does adding what it says is missing.
TEST(PlannerProperties, RefusalsNameWhatIsTrue) {
  SCOPED_TRACE(kSeed + 4);
  Random random(kSeed + 4);
  std::map<std::string, int> seen;
  for (int i = 0; i < 4000; ++i) {
    SCOPED_TRACE(i);
    const Case c = random.Next();
    const auto refused = c.MakePlan();
    if (refused.ok()) continue;
    const std::string text(refused.status().message());
    SCOPED_TRACE(text);
    const auto fits = [&](const Machine& m, const PlanGoals& goals) {
      return Fits(c.shape, m, goals);
    };
    std::smatch m;
    if (std::regex_search(text, m, std::regex("a context of (\\d+) tokens"))) {
      PlanGoals goals = c.goals;
      goals.context = std::stoll(m[1]);
      EXPECT_TRUE(fits(c.machine, goals));
      goals.context += 64;
      EXPECT_TRUE(goals.context >= c.goals.context || !fits(c.machine, goals));
      ++seen["context"];
    }
    if (std::regex_search(text, m, std::regex("(\\d+) sequences? at once"))) {
      PlanGoals goals = c.goals;
      goals.concurrency = std::stoi(m[1]);
      EXPECT_TRUE(fits(c.machine, goals));
      ++seen["sequences"];
    }
    if (text.find("INT8") != std::string::npos) {
      PlanGoals goals = c.goals;
      goals.weight_bits = 8;
      EXPECT_TRUE(fits(c.machine, goals));
      ++seen["int8"];
    }
    if (std::regex_search(text, m, std::regex("a GPU with ([0-9.]+) GB"))) {
      Machine larger = c.machine;
      if (!larger.gpu) larger.gpu = H100();
      larger.gpu->memory_bytes = std::llround(std::stod(m[1]) * 1e9);
      EXPECT_TRUE(fits(larger, c.goals));
      ++seen["gpu"];
    }
    if (std::regex_search(text, m, std::regex("([0-9.]+) GB more RAM"))) {
      EXPECT_TRUE(fits(WithMoreRam(c.machine, std::llround(std::stod(m[1]) * 1e9)), c.goals));
      ++seen["ram"];
    }
    if (text.find("NVMe") != std::string::npos) {
      Machine disk = c.machine;
      disk.rates.disk_gb_per_s = 3;
      EXPECT_TRUE(fits(disk, c.goals));
      ++seen["disk"];
    }
    // "1.2 GB of GPU memory and 0.3 GB of RAM are missing with the GPU", and without it.
    const std::regex missing(
        "(?:([0-9.]+) GB of GPU memory)?(?: and )?(?:([0-9.]+) GB of RAM)? are missing");
    for (auto it = std::sregex_iterator(text.begin(), text.end(), missing);
         it != std::sregex_iterator(); ++it) {
      Machine larger = c.machine;
      if ((*it)[1].matched) larger.gpu->memory_bytes += std::llround(std::stod((*it)[1]) * 1e9);
      if ((*it)[2].matched) larger = WithMoreRam(larger, std::llround(std::stod((*it)[2]) * 1e9));
      EXPECT_TRUE((*it)[1].matched || (*it)[2].matched);  // an amount
      EXPECT_TRUE(fits(larger, c.goals));
      ++seen["missing"];
    }
    if (testing::Test::HasFailure()) return;
  }
  for (const char* remedy : {"context", "sequences", "int8", "gpu", "ram", "disk", "missing"})
    EXPECT_GT(seen[remedy], 2) << remedy;
}

}  // namespace
}  // namespace tandem
