// Which experts the GPU holds: one by one over all layers, by what each saves of a step.
//
// In a layer the CPU's cold experts run beside the GPU's shared and hot ones, so its time is the
// longer of both. Moving the most used expert over shortens the CPU's side by its expected time and
// lengthens the GPU's; the gain is what the longer side loses. In a layer gains fall from one
// expert to the next, so taking the best of all layers each time is best for every number of them,
// and the choice for more memory holds that for less. Equal gains go to the layer with fewer hot
// experts.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/cost_model.h"

namespace tandem {

struct HotPick {
  int32_t moe_layer = 0, expert = 0;
  double gain_s = 0;  // of the step; 0 or less where the GPU's side is the longer one already
};

// All experts of the model in the order in which they would move, for steps of `batch` rows.
std::vector<HotPick> OrderHotExperts(const ModelShape& shape, const CostModel& costs,
                                     const RoutingModel& decode, int32_t batch);

// All experts, the least used first; of equal ones the higher id: what the disk holds if RAM
// cannot.
std::vector<HotPick> OrderByUse(const ModelShape& shape, const RoutingModel& decode);

}  // namespace tandem
