// Runs policies over a trace and counts: the inside of the simulator (simulator.h).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "placement/expert_adapter.h"
#include "placement/hot_policies.h"
#include "placement/layer_trace.h"

namespace tandem {

struct HitCount {
  int64_t hits = 0, pairs = 0;
  double rate() const { return pairs > 0 ? static_cast<double>(hits) / pairs : 0; }
};

// What a policy did in one layer.
struct LayerResult {
  std::array<HitCount, kPhases> counts;
  int64_t moves = 0;         // experts brought in
  int64_t decode_moves = 0;  // of these, around steps in which a row decodes
};

// REQUIRES: not kEma, whose layers are not independent.
LayerResult ReplayLayer(const TraceRows& rows, const LayerTrace& layer, HotPolicy policy,
                        const std::vector<ExpertId>& start);

// An ExpertAdapter whose swaps are done at once. [moe_layers]
std::vector<LayerResult> ReplayAdapter(const RoutingTrace& trace, const TraceRows& rows,
                                       const std::vector<std::vector<ExpertId>>& start,
                                       const AdapterOptions& options);

}  // namespace tandem
