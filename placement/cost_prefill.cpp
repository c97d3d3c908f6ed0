// The cost model's prompts: chunks, and who computes the experts of each.
#include <algorithm>
#include <numeric>

#include "placement/cost_model.h"
#include "placement/step_sum.h"

namespace tandem {
namespace {

constexpr int32_t kMostRowsWithoutStreaming = 64;  // of a step; engine/expert_split.h

struct SideTimes {
  double cpu_s = 0, gpu_s = 0, pcie_s = 0;
  double end_s() const { return std::max(cpu_s, gpu_s); }
};

// The rule of placement/prefill_split.h on expected times, and its two extremes.
struct LayerSplit {
  const ExpertCosts& costs;
  const RoutingModel& routing;
  int32_t layer, rows;

  SideTimes Cheapest(std::vector<int32_t> cold, const std::vector<double>& cpu_s,
                     const SideTimes& without, bool all_in_ram) const {
    std::stable_sort(cold.begin(), cold.end(), [&](int32_t a, int32_t b) {
      return routing.Probability(layer, a) > routing.Probability(layer, b);
    });
    const size_t first = static_cast<size_t>(layer) * routing.experts();
    SideTimes best = without, now = without, alone = without;
    for (const int32_t e : cold) {
      now.cpu_s -= cpu_s[first + e];
      Send(now, e, /*beside_cpu=*/true);
      Send(alone, e, /*beside_cpu=*/false);
      if (now.end_s() < best.end_s()) best = now;
    }
    alone.cpu_s = 0;
    return all_in_ram && alone.end_s() < best.end_s() ? alone : best;
  }

 private:
  void Send(SideTimes& sides, int32_t e, bool beside_cpu) const {
    const double send_s = costs.SendSeconds(beside_cpu);
    const double compute_s = costs.GpuRowSeconds() * rows * routing.Probability(layer, e);
    sides.pcie_s += send_s;
    sides.gpu_s += std::max(send_s, compute_s);
  }
};

}  // namespace

// All layers' experts of one chunk; the same wherever in the prompt it lies.
struct CostModel::ExpertsOfStep {
  double shared_s = 0, cpu_s = 0, hot_s = 0, disk_s = 0, pcie_s = 0, handoff_s = 0;
  double cpu_waits_s = 0, gpu_waits_s = 0, pcie_waits_s = 0;  // which side ends last
  Wait cpu_wait = Wait::kCpuArithmetic;
};

CostModel::ExpertsOfStep CostModel::PrefillExperts(const Residences& where, int32_t rows,
                                                   bool stream) const {
  ExpertsOfStep step;
  step.cpu_wait = experts_.MemoryBound(rows) ? Wait::kRamBandwidth : Wait::kCpuArithmetic;
  const double shared_s = dense_.Shared(rows).s;
  const std::vector<double> seconds = experts_.ExpectedCpuSeconds(prefill_, rows);
  for (int32_t layer = 0; layer < shape_.moe_layers(); ++layer) {
    SideTimes sides = {.cpu_s = experts_.CallSeconds()};
    double hot_s = 0, disk_s = 0;
    std::vector<int32_t> cold;
    for (int32_t e = 0; e < shape_.experts; ++e) {
      const size_t i = static_cast<size_t>(layer) * shape_.experts + e;
      const double p = prefill_.Probability(layer, e);
      if (where[i] == Residence::kGpu) {
        hot_s += experts_.GpuSeconds(p, rows);
        continue;
      }
      sides.cpu_s += seconds[i];
      if (where[i] == Residence::kRam) cold.push_back(e);
      if (where[i] == Residence::kDisk) disk_s += experts_.DiskSeconds(p, rows);
    }
    if (gpu_) {
      sides.gpu_s = shared_s + hot_s;
      if (stream && rows > kMostRowsWithoutStreaming)
        sides =
            LayerSplit{experts_, prefill_, layer, rows}.Cheapest(cold, seconds, sides, disk_s == 0);
      const bool sends = sides.pcie_s > sides.gpu_s / 2;
      (sides.cpu_s >= sides.gpu_s ? step.cpu_waits_s
       : sends                    ? step.pcie_waits_s
                                  : step.gpu_waits_s) += sides.end_s();
      step.handoff_s += sides.cpu_s > 0 ? HandoffSeconds(rows) : handoff_s_;
    } else {
      step.cpu_waits_s += sides.cpu_s + shared_s;
    }
    step.shared_s += shared_s;
    step.cpu_s += sides.cpu_s;
    step.hot_s += hot_s;
    step.disk_s += disk_s;
    step.pcie_s += sides.pcie_s;
  }
  return step;
}

StepTime CostModel::Prefill(const Residences& where, int64_t tokens, int32_t chunk,
                            bool stream) const {
  StepSum sum(gpu_);
  int32_t rows_before = 0;
  ExpertsOfStep experts;
  for (int64_t at = 0; at < tokens; at += chunk) {
    const auto rows = static_cast<int32_t>(std::min<int64_t>(chunk, tokens - at));
    if (rows != rows_before) experts = PrefillExperts(where, rows, stream);
    rows_before = rows;
    sum.Add(&StepTime::attention_s, dense_.Attention(rows, /*prompt=*/true), shape_.layers);
    sum.Add(&StepTime::attention_s, dense_.PromptCache(rows, at), shape_.layers);
    sum.Add(&StepTime::attention_s, dense_.DenseMlp(rows), shape_.dense_layers);
    sum.Add(&StepTime::shared_s, dense_.Router(rows), shape_.moe_layers());
    StepTime& time = sum.time();
    time.shared_s += experts.shared_s;
    time.cpu_experts_s += experts.cpu_s + experts.disk_s;
    time.hot_experts_s += experts.hot_s;
    time.disk_s += experts.disk_s;
    time.pcie_s += experts.pcie_s;
    sum.Await(experts.cpu_waits_s, experts.cpu_wait);
    sum.Await(experts.gpu_waits_s, Wait::kGpuArithmetic);
    sum.Await(experts.pcie_waits_s, Wait::kPcie);
    sum.Await(experts.disk_s, Wait::kDisk);
    sum.Add(&StepTime::handoff_s, experts.handoff_s, Wait::kHandoff);
    sum.Add(&StepTime::other_s, step_s_, Wait::kEngine);
  }
  sum.Add(&StepTime::head_s, dense_.Head(1));
  sum.Add(&StepTime::other_s, row_s_, Wait::kEngine);
  return sum.Finish();
}

}  // namespace tandem
