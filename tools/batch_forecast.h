// What a batch will take by the cost model, before it begins.
#pragma once

#include <optional>

#include "core/model_shape.h"
#include "engine/engine.h"
#include "placement/batch_size.h"
#include "service/batch/batch_job.h"
#include "tools/start_plan.h"

namespace tandem {

// How many sequences to keep in flight, and how long that takes if every request generates as much
// as it may and nothing is found in the cache; nullopt if the machine's rates are not known.
std::optional<BatchPrediction> ForecastBatch(const BatchSize& size, const StartPlan& start,
                                             const EngineOptions& options, const Engine& engine);

}  // namespace tandem
