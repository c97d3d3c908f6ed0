// Replays a routing trace against ways to choose the hot experts: how many of the routed pairs each
// would have found on the GPU, and how many experts it would have sent there.
//
// A hot set changes between steps only; a pair (row, expert) is a hit if its expert was hot when
// the row's step began. All policies begin with the same set, have its size in every layer for the
// whole trace, and see all rows. Hits are told of the counted rows: those of the requests that are
// held out (expert_profile.h), from whose rows no ranking is made.
#pragma once

#include <cstdint>
#include <vector>

#include "core/status.h"
#include "placement/expert_adapter.h"
#include "placement/expert_profile.h"
#include "placement/hot_policies.h"
#include "placement/replay.h"
#include "placement/routing_trace.h"

namespace tandem {

using HotLists = std::vector<std::vector<ExpertId>>;  // [layers], the most used first

// What the requests that are not held out used, both phases together.
RoutingCounts CountTraining(const RoutingTrace& trace);

// The most used experts by counts [moe_layers * experts]: `total` of all layers, or `per_layer` of
// every layer. Of equals the lower layer and expert.
HotLists MostUsed(const ModelIdentity& model, const RoutingCounts& counts, int64_t total);
HotLists MostUsedPerLayer(const ModelIdentity& model, const RoutingCounts& counts,
                          int32_t per_layer);

struct SimulationOptions {
  AdapterOptions adapter;     // of kEma
  bool held_out_only = true;  // which rows count: those of held-out requests, or all
  int32_t threads = 0;        // 0: one per processor
};

struct SimulationResult {
  HotPolicy policy = HotPolicy::kStatic;
  std::vector<LayerResult> layers;     // [moe_layers]
  int64_t moves = 0;                   // experts sent, in the whole trace
  int64_t bytes = 0;                   // of these
  double moves_per_token = 0;          // of all rows of the trace
  double moves_per_decoded_token = 0;  // those around decode steps, of the rows that decode

  HitCount of(Phase phase) const;  // all layers
  HitCount all() const;
};

// A result for each of `policies`. Errors: INVALID_ARGUMENT for a trace without counted rows.
absl::StatusOr<std::vector<SimulationResult>> Simulate(const RoutingTrace& trace,
                                                       const HotLists& start,
                                                       const std::vector<HotPolicy>& policies,
                                                       const SimulationOptions& options = {});

// The same for several starting sets; what they share is prepared once. [starts][policies]
absl::StatusOr<std::vector<std::vector<SimulationResult>>> SimulateAll(
    const RoutingTrace& trace, const std::vector<HotLists>& starts,
    const std::vector<HotPolicy>& policies, const SimulationOptions& options = {});

}  // namespace tandem
