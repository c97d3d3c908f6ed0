// What a plan means for an engine's options.
#pragma once

#include "core/model_shape.h"
#include "core/status.h"
#include "engine/engine.h"
#include "placement/plan.h"

namespace tandem {

// Fills in what the plan decides: device, latent cache, hot experts, NUMA placement, prefill. What
// `options` already say stays: cache tokens, hot experts, a device. Errors: FAILED_PRECONDITION for
// a plan of another model, or one for a GPU where there is none; INVALID_ARGUMENT where plan and
// options contradict.
absl::StatusOr<EngineOptions> ApplyPlan(const Plan& plan, const ModelIdentity& model,
                                        EngineOptions options);

}  // namespace tandem
