// What every plan must keep, over thousands of random models, machines, profiles and goals; and
// plans for Kimi K2.6.
#include "placement/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <regex>
#include <set>

#include "placement/footprint.h"
#include "placement/machine_file.h"
#include "placement/memory_plan.h"
#include "placement/plan_file.h"
#include "placement/plan_limits.h"
#include "placement/plan_report.h"
#include "tests/placement/planner_fixtures.h"

namespace tandem {
namespace {

using testing::HasSubstr;

struct Case {
  ModelShape shape;
  Machine machine;
  PlanGoals goals;
  ExpertProfile profile;
  ModelIdentity identity() const { return IdentityOf(shape, "random"); }
  absl::StatusOr<Plan> MakePlan() const { return MakePlanFor(machine); }
  absl::StatusOr<Plan> MakePlanFor(const Machine& m) const {
    return tandem::MakePlan(shape, identity(), m, &profile, goals);
  }
};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int64_t Int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  double Real(double low, double high) {  // even in the logarithm
    return low * std::exp(std::uniform_real_distribution<>(0, std::log(high / low))(engine_));
  }
  bool OneIn(int n) { return Int(1, n) == 1; }

  ModelShape Shape() {
    ModelShape s;
    s.hidden = 64 * static_cast<int32_t>(Int(1, 16));
    s.layers = static_cast<int32_t>(Int(1, 6)), s.dense_layers = OneIn(2) && s.layers > 1;
    s.dense_intermediate = 64 * static_cast<int32_t>(Int(1, 32));
    s.vocab = static_cast<int32_t>(Int(100, 20000)), s.max_positions = 65536;
    s.heads = static_cast<int32_t>(Int(1, 16)), s.q_lora_rank = OneIn(2) ? 64 : 0;
    s.kv_lora_rank = 64, s.qk_nope_dim = 32, s.qk_rope_dim = 16, s.v_dim = 32;
    s.experts = static_cast<int32_t>(Int(4, 40));
    s.top_k = static_cast<int32_t>(Int(1, std::min(8, s.experts)));
    s.expert_intermediate = 32 * static_cast<int32_t>(Int(1, 24));
    s.shared_experts = static_cast<int32_t>(Int(0, 1));
    return s;
  }

  // Memory around what the model needs, so that some do not fit.
  Machine MachineFor(const ModelShape& s, const PlanGoals& goals) {
    Machine m;
    m.name = "random";
    const int64_t nodes = Int(1, 4);
    for (int32_t i = 0; i < nodes; ++i) {
      const double gb_per_s = Real(10, 500);
      m.nodes.push_back({i, static_cast<int32_t>(Int(1, 64)), 1, gb_per_s, gb_per_s});
    }
    const double weights = ComputeFootprint(s, 2).routed_bytes + 1e5;
    m.gpu = GpuSpec{};
    const MemoryPlan needs = PlanMemory(s, m, goals, {.gpu = true, .home = NumaHome::kWhole});
    const double dense = needs.dense_bytes + needs.embedding_bytes + needs.kv_bytes;
    const double ram = goals.ram_reserve_bytes + needs.ram_workspace_bytes +
                       (OneIn(2) ? 1.1 * dense : 0) + Real(0.2, 4) * weights;
    for (MachineNode& node : m.nodes) node.memory_bytes = static_cast<int64_t>(ram / nodes);
    if (OneIn(5)) m.nodes[0].memory_bytes += static_cast<int64_t>(ram / 3);
    for (const MachineNode& node : m.nodes) m.memory_bytes += node.memory_bytes;
    m.sockets = static_cast<int32_t>(nodes);
    m.rates.expert_gops = Real(10, 1e5), m.rates.dense_gflops = Real(10, 1e4);
    m.rates.dispatch_us = Real(1, 20), m.rates.step_us = Real(1, 100);
    if (OneIn(3)) m.rates.disk_gb_per_s = Real(0.5, 20);
    m.gpu.reset();
    if (OneIn(4)) return m;
    const double gpu = goals.vram_reserve_bytes + Real(0.97, 1.3) * needs.gpu_used() +
                       (OneIn(2) ? 1.0 * goals.stream_buffer_bytes + 3e7 : 0) +
                       Real(0.05, 1.5) * weights;
    m.gpu = GpuSpec{.name = "random",
                    .memory_bytes = static_cast<int64_t>(gpu),
                    .hbm_gb_per_s = Real(50, 5000),
                    .bf16_tflops = Real(10, 1000),
                    .int4_tflops = Real(5, 500),
                    .pcie_gb_per_s = Real(5, 100),
                    .pcie_beside_cpu_gb_per_s = 0,
                    .handoff_us = Real(5, 200)};
    return m;
  }

  PlanGoals Goals() {
    PlanGoals g;
    g.context = Int(1, 8192), g.concurrency = static_cast<int32_t>(Int(1, 12));
    g.max_step_tokens = 1 << Int(0, 9);
    g.weight_bits = OneIn(3) ? 8 : 16;
    g.vram_reserve_bytes = Int(0, 50'000'000), g.ram_reserve_bytes = Int(0, 50'000'000);
    g.stream_buffer_bytes = OneIn(3) ? 0 : Int(1, 200'000'000);
    g.objective = OneIn(3) ? PlanObjective::kThroughput : PlanObjective::kLatency;
    g.use_gpu = !OneIn(8);
    return g;
  }

  RoutingCounts Counts(const ModelShape& s, int64_t tokens) {
    RoutingCounts counts;
    counts.tokens = tokens;
    counts.hits.assign(static_cast<size_t>(s.moe_layers()) * s.experts, 0);
    counts.mass.assign(counts.hits.size(), 0.0);
    for (int32_t l = 0; l < s.moe_layers(); ++l) {
      std::vector<double> weight;
      for (int32_t e = 0; e < s.experts; ++e) weight.push_back(Real(0.05, 20));
      for (int64_t t = 0; t < tokens; ++t) {
        std::set<int> used;
        std::discrete_distribution<int> draw(weight.begin(), weight.end());
        while (std::ssize(used) < s.top_k) used.insert(draw(engine_));
        for (const int e : used) ++counts.hits[static_cast<size_t>(l) * s.experts + e];
      }
    }
    return counts;
  }

  ExpertProfile Profile(const ModelShape& s, bool held_out = false) {
    ExpertProfile profile;
    profile.model = IdentityOf(s, "random");
    LabelProfile label;
    for (auto& split : label.counts)
      for (auto& counts : split) counts = Counts(s, 0);
    label.counts[0][static_cast<int>(Phase::kDecode)] = Counts(s, 40);
    if (OneIn(2)) label.counts[0][static_cast<int>(Phase::kPrefill)] = Counts(s, 20);
    if (held_out) label.counts[1][static_cast<int>(Phase::kDecode)] = Counts(s, 30);
    profile.labels.push_back(std::move(label));
    return profile;
  }

  Case Next() {
    Case c;
    c.shape = Shape();
    c.goals = Goals();
    c.machine = MachineFor(c.shape, c.goals);
    c.profile = OneIn(4) ? ExpertProfile{.model = c.identity()} : Profile(c.shape, OneIn(2));
    return c;
  }

 private:
  std::mt19937 engine_;
};

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

// ---------------------------------------------------------------- Kimi K2.6

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
