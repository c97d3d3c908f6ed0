// Decides what lies where. A pure function: same input, same plan; no file, clock or thread.
#pragma once

#include <cstdint>
#include <string>

#include "core/model_shape.h"
#include "core/status.h"
#include "placement/expert_profile.h"
#include "placement/machine.h"
#include "placement/plan.h"

namespace tandem {

// `profile` may be null: then experts are taken to be used alike. Hot experts are chosen one by one
// over all layers, by what each saves of a step's time, as long as it saves any and the GPU has
// room: so a plan for more memory keeps all of a smaller one's. Errors: RESOURCE_EXHAUSTED when
// nothing fits, in a sentence that says what is missing, by how much, and what would make it fit;
// INVALID_ARGUMENT for goals that make no sense; FAILED_PRECONDITION for a profile of another
// model.
absl::StatusOr<Plan> MakePlan(const ModelShape& shape, const ModelIdentity& identity,
                              const Machine& machine, const ExpertProfile* profile,
                              const PlanGoals& goals);

// What a little more hardware would bring.
struct Upgrade {
  std::string what;        // "1 GiB more GPU memory", "one more memory channel per socket", ...
  double decode_gain = 0;  // of tokens per second, batch goals.concurrency: 0.02 is 2 %
  double prefill_gain = 0;
  std::string note;  // "41 more hot experts"
};
// Made by planning for the changed machines.
std::vector<Upgrade> NextUpgrades(const ModelShape& shape, const ModelIdentity& identity,
                                  const Machine& machine, const ExpertProfile* profile,
                                  const PlanGoals& goals);

}  // namespace tandem
