#include "placement/simulated_rate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "placement/cost_model.h"
#include "placement/footprint.h"

namespace tandem {
namespace {

constexpr int32_t kWeightBits = 16;

int64_t ExpertBytesOf(const ModelShape& shape) {
  return ComputeFootprint(shape, kBf16WeightBytes).expert_bytes;
}

double SendBytesPerSecond(const Machine& machine) {
  const GpuSpec& gpu = *machine.gpu;
  return 1e9 *
         (gpu.pcie_beside_cpu_gb_per_s > 0 ? gpu.pcie_beside_cpu_gb_per_s : gpu.pcie_gb_per_s);
}

// Counts in which the hot experts of each layer have its hit rate together, all alike, and the
// others the rest: what the cost model makes of these is a step with that hit rate.
RoutingCounts CountsWithRates(const SimulationResult& result, const HotLists& start,
                              const ModelShape& shape) {
  constexpr double kTokens = 1e9;  // so many that the model's prior is nothing
  RoutingCounts counts{.tokens = static_cast<int64_t>(kTokens)};
  for (int32_t l = 0; l < shape.moe_layers(); ++l) {
    const double rate = result.layers[l].counts[static_cast<int>(Phase::kDecode)].rate();
    const std::vector<ExpertId>& hot = start[shape.dense_layers + l];
    const double pairs = kTokens * shape.top_k;
    const auto n_hot = static_cast<double>(hot.size());
    const double cold = n_hot < shape.experts ? pairs * (1 - rate) / (shape.experts - n_hot) : 0;
    std::vector<int64_t> hits(shape.experts, std::llround(cold));
    for (const ExpertId expert : hot) hits[expert.value] = std::llround(pairs * rate / n_hot);
    counts.hits.insert(counts.hits.end(), hits.begin(), hits.end());
  }
  return counts;
}

Residences ResidencesWith(const HotLists& start, const ModelShape& shape) {
  Residences where(int64_t{shape.moe_layers()} * shape.experts, Residence::kRam);
  for (int32_t l = 0; l < shape.moe_layers(); ++l)
    for (const ExpertId expert : start[shape.dense_layers + l])
      where[int64_t{l} * shape.experts + expert.value] = Residence::kGpu;
  return where;
}

}  // namespace

absl::Status CheckPredicts(const ModelIdentity& model, const ModelShape& shape,
                           const Machine& machine) {
  ModelIdentity without_hash = model;
  without_hash.router_hash = 0;
  TANDEM_RETURN_IF_ERROR(
      CheckSameModel("the trace", without_hash, IdentityOf(shape, model.architecture)));
  if (!machine.gpu) {
    return absl::InvalidArgumentError(
        absl::StrCat(machine.name, " has no GPU that could hold hot experts"));
  }
  if (SendBytesPerSecond(machine) <= 0)
    return absl::InvalidArgumentError(absl::StrCat(machine.name, ": PCIe's rate is not known"));
  return CheckRates(machine, shape, kWeightBits, /*gpu=*/true);
}

double PredictDecode(const SimulationResult& result, const HotLists& start, const ModelShape& shape,
                     const Machine& machine, int64_t context) {
  const RoutingModel routing(shape, CountsWithRates(result, start, shape));
  const CostModel costs(shape, machine, kWeightBits, /*gpu=*/true, routing, routing);
  const double step_s = costs.Decode(ResidencesWith(start, shape), /*batch=*/1, context).total_s;
  const double sent = result.moves_per_decoded_token * static_cast<double>(ExpertBytesOf(shape));
  const double ram = machine.read_gb_per_s() * 1e9;
  return 1 / std::max(step_s + (ram > 0 ? sent / ram : 0), sent / SendBytesPerSecond(machine));
}

void SetCosts(const ModelShape& shape, const Machine& machine, AdapterOptions& options) {
  const RoutingModel even(shape);
  options.cpu_expert_s =
      CostModel(shape, machine, kWeightBits, /*gpu=*/true, even, even).CpuExpertSeconds(1);
  options.send_expert_s = static_cast<double>(ExpertBytesOf(shape)) / SendBytesPerSecond(machine);
}

}  // namespace tandem
