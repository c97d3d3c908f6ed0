// How long a step takes on a machine, by the formulas of docs/architecture.md ("The cost model").
// Pure functions of model, machine and where the experts lie; nothing is measured here.
//
//   D(B)    = sum over experts of 1 - (1 - p_e)^B             different experts of B rows, p_e from
//   a
//                                                              profile, k / E without one
//   T_cpu   = sum over cold experts of E[t(rows)]              t: the machine's curve for such
//   experts, or
//                                                              max(bytes / bandwidth, operations /
//                                                              rate)
//   T_layer = T_att + max(T_cpu, T_shared + T_hot) + handoff   with a GPU; without one, the sum of
//   all T_step  = sum over layers + T_head + what the engine adds prefill = chunks of a step each;
//   with a GPU the cheapest of: CPU, streamed, both (prefill_split.h)
#pragma once

#include <cstdint>
#include <vector>

#include "core/ids.h"
#include "core/model_shape.h"
#include "placement/expert_profile.h"
#include "placement/machine.h"
#include "placement/plan.h"

namespace tandem {

// How likely a token is to use each expert.
class RoutingModel {
 public:
  // All alike.
  explicit RoutingModel(const ModelShape& shape);
  // By counts [moe_layers * experts] of so many tokens. Experts never seen keep a small share.
  RoutingModel(const ModelShape& shape, const RoutingCounts& counts);

  // Of a token; all experts of a layer together: top_k.
  double Probability(int32_t moe_layer, int32_t expert) const {
    return p_[static_cast<size_t>(moe_layer) * experts_ + expert];
  }
  int32_t experts() const { return experts_; }

 private:
  int32_t experts_;
  std::vector<double> p_;  // [moe_layers * experts]
};

// Which experts are where, [moe_layers * experts].
enum class Residence : uint8_t { kRam = 0, kGpu = 1, kDisk = 2 };
using Residences = std::vector<Residence>;

class CostModel {
 public:
  // `weight_bits` of the dense side; `gpu`: whether it lies there. REQUIRES: machine.gpu if `gpu`.
  // `routing` must outlive the object.
  CostModel(const ModelShape& shape, const Machine& machine, int32_t weight_bits, bool gpu,
            const RoutingModel& decode, const RoutingModel& prefill);

  // A step of `batch` decode rows, each with `context` cached tokens.
  StepTime Decode(const Residences& where, int32_t batch, int64_t context) const;
  // A prompt of `tokens` alone, in steps of at most `chunk` rows.
  StepTime Prefill(const Residences& where, int64_t tokens, int32_t chunk, bool stream) const;

  // Seconds that one expert with `rows` rows takes on the CPU, all nodes together.
  double CpuExpertSeconds(double rows) const;

 private:
  const ModelShape shape_;
  const Machine machine_;
  const int32_t weight_bits_;
  const bool gpu_;
  const RoutingModel& decode_;
  const RoutingModel& prefill_;
};

// The curve of the host backend that a model of this shape needs.
DenseCurve::Key DenseKeyOf(const ModelShape& shape, int32_t weight_bits);

}  // namespace tandem
