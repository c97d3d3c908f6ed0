// Plans in files: a sealed protobuf (plan.proto), so that a plan made on one machine can be read on
// another, looked at and obeyed by an engine.
#pragma once

#include <string>

#include "core/status.h"
#include "placement/plan.h"

namespace tandem {

// Replaces the file as a whole. Errors: as WriteSealedFile().
absl::Status WritePlan(const std::string& path, const Plan& plan);

// Errors: as ReadSealedFile(); DATA_LOSS for a plan that contradicts itself (an expert named twice
// or unknown, layers that are not the model's, negative sizes), naming what.
// Whether it is for the model at hand: CheckSameModel(path, plan.model, ...).
absl::StatusOr<Plan> ReadPlan(const std::string& path);

// Whether the plan agrees with itself; `what` opens the sentence.
absl::Status CheckPlan(const std::string& what, const Plan& plan);

}  // namespace tandem
