// What handing work to the team costs: dispatch and join of an empty layer, beside the time of a
// real one.
#pragma once

#include <string>

#include "core/status.h"

namespace tandem {

struct HandoffOptions {
  int threads = 0;    // 0: all physical cores
  bool layer = true;  // also time one K2.6 layer for one token (takes a few seconds)
};

// Medians, microseconds.
struct HandoffResult {
  std::string team;         // "2 workers on 1 node, pinned"
  double fork_join_us = 0;  // an empty job
  double fork_join_p99_us = 0;
  double empty_layer_us = 0;  // an empty job with the two node barriers of an MoE layer
  double parked_us = 0;       // an empty job after the helpers went to sleep
  double tbb_us = 0;    // oneTBB: an empty static parallel_for over the workers; 0: not built in
  double layer_us = 0;  // one K2.6 layer, one token, cold weights; 0: not measured

  // empty_layer_us as a fraction of layer_us; 0 where that was not measured.
  double fraction_of_layer() const { return layer_us > 0 ? empty_layer_us / layer_us : 0; }
  std::string ToText() const;
  std::string ToJson() const;
};

// Errors: what RunMoeBench returns.
absl::StatusOr<HandoffResult> MeasureHandoff(const HandoffOptions& options);

}  // namespace tandem
