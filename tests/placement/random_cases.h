// Random models, machines, goals and profiles, about as many of which fit as do not.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "placement/footprint.h"
#include "placement/memory_plan.h"
#include "placement/planner.h"

namespace tandem {

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

}  // namespace tandem
