// How the wall time of a step is spread over the layers; averages of the recent steps, in which
// later ones weigh more. What the CPU's experts take, and all else: without a GPU that is the dense
// side's work, with one what the step waited for the GPU (its work, less what the CPU's experts
// hide).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "placement/routing_observer.h"

namespace tandem {

struct LayerTimes {
  struct Of {
    int64_t steps = 0;                       // so far
    std::vector<double> dense_s, experts_s;  // by layer
  };
  // kDecode: steps in which every row decoded; kPrefill: all others.
  std::array<Of, kPhases> by_phase;
};

}  // namespace tandem
