// How long a batch will take by the cost model, before it begins.
#pragma once

#include "core/model_shape.h"
#include "engine/engine.h"
#include "service/batch/batch_job.h"
#include "tools/start_plan.h"

namespace tandem {

// Seconds if every request generates as much as it may, and nothing is found in the cache; 0 if the
// machine's rates are not known. `in_flight`: sequences decoding at once, if there are so many.
double ForecastSeconds(const BatchSize& size, const StartPlan& start, const EngineOptions& engine,
                       const ModelShape& shape, int32_t in_flight);

}  // namespace tandem
