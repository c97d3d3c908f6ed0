// What is missing where a plan does not fit, and what would make it fit. Private to the planner.
#pragma once

#include <string>

#include "core/status.h"
#include "placement/memory_plan.h"

namespace tandem {

// Whether any option fits.
bool Fits(const ModelShape& shape, const Machine& machine, const PlanGoals& goals);

// RESOURCE_EXHAUSTED: what each way of placing the model lacks, then remedies, each of which was
// tried: with it alone the plan fits. REQUIRES: !Fits().
absl::Status DoesNotFit(const ModelShape& shape, const Machine& machine, const PlanGoals& goals);

// Spread over its nodes as what they have.
Machine WithMoreRam(Machine machine, int64_t bytes);

// "4.2 GB of GPU memory and 12.0 GB of RAM": with both, this option fits. "" if it does already.
std::string MissingText(const ModelShape& shape, const Machine& machine, const PlanGoals& goals,
                        const PlacementOption& option);

}  // namespace tandem
