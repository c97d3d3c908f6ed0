// A plan in words and numbers: what is where and why, what comes of it, what limits it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/model_shape.h"
#include "placement/machine.h"
#include "placement/plan.h"
#include "placement/planner.h"

namespace tandem {

// What a report is made from; all must outlive it.
struct PlanReport {
  const ModelShape& shape;
  const Machine& machine;
  const Plan& plan;
  std::vector<Upgrade> upgrades = {};  // NextUpgrades(), or none
  std::string profile_name = {};       // of a comparison's column; "" for none
};

// At most 100 columns wide.
std::string PlanText(const PlanReport& report);
// Everything, hot experts included; one object.
std::string PlanJson(const PlanReport& report);

// Several plans side by side, a column each, and the same as an array of PlanJson() objects.
std::string ComparisonText(std::span<const PlanReport> reports);
std::string ComparisonJson(std::span<const PlanReport> reports);

// Decoded tokens per second if nothing but reading routed experts took time.
struct Roofs {
  double ram_paper = 0;        // at the memory channels' bandwidth; 0: unknown
  double ram_read = 0;         // at the bandwidth that the experts' kernel reaches; 0: unknown
  double streamed_pass_s = 0;  // all routed experts over PCIe once; 0: no GPU
};
Roofs RoofsOf(const ModelShape& shape, const Machine& machine);

}  // namespace tandem
