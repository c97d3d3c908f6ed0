// How long a step takes on a machine. Pure functions of model, machine and where the experts lie;
// nothing is measured here. docs/placement.md, "The cost model", has the formulas in full.
//
//   D(B)    = sum over experts of 1 - (1 - p_e)^B     different experts of B rows; p_e from a
//                                                     profile, k / E without one
//   T_cpu   = sum over cold experts of E[t(rows)]     rows ~ Binomial(B, p_e); t: the machine's
//                                                     curve for such experts (of all its nodes), or
//                                                     max(bytes / bandwidth, operations / rate)
//   T_layer = T_att + T_router + max(T_cpu, T_shared + T_hot) + handoff    with a GPU
//             T_att + T_router + T_shared + T_cpu                          without one
//             + T_disk, while which nothing else goes on
//   T_step  = sum of layers + T_head + what the engine adds
//   prefill = chunks of a step each; with a GPU the cheapest of CPU, streamed, both
#pragma once

#include <cstdint>
#include <vector>

#include "core/ids.h"
#include "core/model_shape.h"
#include "placement/dense_costs.h"
#include "placement/expert_costs.h"
#include "placement/machine.h"
#include "placement/plan.h"
#include "placement/routing_model.h"

namespace tandem {

// Which experts are where, [moe_layers * experts].
enum class Residence : uint8_t { kRam = 0, kGpu = 1, kDisk = 2 };
using Residences = std::vector<Residence>;
Residences ResidencesOf(const Plan& plan);

class CostModel {
 public:
  // `weight_bits` of the dense side; `gpu`: whether it lies there. REQUIRES: machine.gpu if `gpu`,
  // rates as CheckRates() wants them. `decode` and `prefill` must outlive the object.
  CostModel(const ModelShape& shape, const Machine& machine, int32_t weight_bits, bool gpu,
            const RoutingModel& decode, const RoutingModel& prefill,
            NumaHome home = NumaHome::kSharded);

  // A step of `batch` decode rows, each with `context` cached tokens.
  StepTime Decode(const Residences& where, int32_t batch, int64_t context) const;
  // A prompt of `tokens` alone, in steps of at most `chunk` rows. `stream`: cold experts may be
  // sent to the GPU; as many are as make the slower side end earliest, from none to all.
  StepTime Prefill(const Residences& where, int64_t tokens, int32_t chunk, bool stream) const;
  // From so many tokens on, sending all cold experts once beats computing them on the CPU. 0:
  // never, or there is no GPU.
  int64_t BreakEven(const Residences& where, int32_t chunk) const;

  // Seconds that one expert with `rows` rows takes on the CPU, all nodes together.
  double CpuExpertSeconds(double rows) const { return experts_.CpuSeconds(rows); }
  const ExpertCosts& experts() const { return experts_; }
  const DenseCosts& dense() const { return dense_; }
  bool gpu() const { return gpu_; }

 private:
  struct ExpertsOfStep;
  ExpertsOfStep PrefillExperts(const Residences& where, int32_t rows, bool stream) const;
  double HandoffSeconds(int64_t rows) const;

  const ModelShape shape_;
  const bool gpu_;
  const double handoff_s_;   // of one row or few
  const double row_send_s_;  // a row to the CPU and its sums back
  const double step_s_, row_s_;
  const RoutingModel& decode_;
  const RoutingModel& prefill_;
  const DenseCosts dense_;
  const ExpertCosts experts_;
};

// n* = r_cpu S / BW_pcie: what the CPU reads of a prompt while S bytes of experts are sent.
double BreakEvenTokens(double cpu_tok_per_s, double streamed_bytes, double pcie_gb_per_s);

// What the formulas divide by. Error: INVALID_ARGUMENT naming machine and what is unknown.
absl::Status CheckRates(const Machine& machine, const ModelShape& shape, int32_t weight_bits,
                        bool gpu);

}  // namespace tandem
