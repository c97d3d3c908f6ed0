// A plan in the making: one option, everything put somewhere, and how long a step takes then.
// Private to the planner.
#pragma once

#include <memory>
#include <vector>

#include "placement/cost_model.h"
#include "placement/hot_experts.h"
#include "placement/memory_plan.h"

namespace tandem {

struct PlannerInput {
  const ModelShape& shape;
  const Machine& machine;
  const PlanGoals& goals;
  const RoutingModel& decode;
  const RoutingModel& prefill;
  // Of the step that is made short.
  int32_t batch = 1;
  int64_t context = 0;
};

struct PlanDraft {
  MemoryPlan memory;
  std::unique_ptr<CostModel> costs;
  std::vector<HotPick> hot;      // in the order in which they moved
  std::vector<HotPick> on_disk;  // the least used first
  bool hot_experts_leave_ram = false;
  bool hot_saturated = false;                 // more hot experts would save nothing
  std::vector<std::vector<NumaChoice>> numa;  // [layers][experts]; empty: all sharded
  Residences where;
  double step_s = 0;  // of the step that is made short
};

// REQUIRES: memory.fits(), rates as CheckRates() wants them.
PlanDraft MakeDraft(const PlannerInput& input, const MemoryPlan& memory);

// Budget lines of a draft, place by place.
std::vector<BudgetLine> BudgetOf(const PlannerInput& input, const PlanDraft& draft);

}  // namespace tandem
