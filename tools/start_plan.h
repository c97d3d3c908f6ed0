// The plan that a command with an engine starts by: one from a file, or one made now for this
// machine. Its summary is printed, and what it predicts is held against what then happens.
#pragma once

#include <memory>
#include <string>

#include "core/status.h"
#include "engine/engine.h"
#include "placement/expert_profile.h"
#include "placement/machine.h"
#include "placement/plan.h"

namespace tandem {

struct PlanFlags {
  std::string plan;     // a file of `tandem plan -o`; "": made at start
  std::string profile;  // for the one made at start
};

struct StartPlan {
  std::shared_ptr<const Plan> plan;  // null: none could be made, which was logged
  bool obeyed = false;               // the engine is set up by it; else it only predicts
  Machine machine;                   // this one
  RoutingCounts decode, prefill;     // of the profile, if one was given
};

// A plan that is made here leaves alone what `engine` asks for, and without a GPU only predicts:
// the engine then sizes its cache by free RAM itself. Errors: of the files named;
// FAILED_PRECONDITION for a plan or profile of another model.
absl::StatusOr<StartPlan> PlanForStart(const PlanFlags& flags, const EngineOptions& engine);

// A few lines: what lies where, and the predicted rates.
// REQUIRES: there is a plan.
std::string PlanSummary(const StartPlan& start);

// What decode and prefill steps took so far against what the plan predicts for such steps; ""
// before anything was computed.
std::string MeasuredAgainst(const Plan& plan, const EngineStats& stats);

}  // namespace tandem
