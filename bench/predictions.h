// What the cost model says of the rates that a bench measures, for both to be shown side by side.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/step_rates.h"
#include "core/model_shape.h"
#include "placement/cost_model.h"
#include "placement/machine.h"

namespace tandem {

struct PredictionInput {
  ModelShape shape;
  int32_t weight_bits = 16;
  bool gpu = false;
  Residences where;     // [moe_layers * experts]
  int32_t chunk = 512;  // prefill rows of a step
  bool stream = false;
  RoutingCounts decode, prefill;  // of a profile; no tokens: experts are taken to be used alike
};

// Tokens per second of decode (batch > 0) or of a prompt (batch 0, `context` long), by the
// machine's rates. REQUIRES: CheckRates() agrees.
double PredictRate(const PredictionInput& input, const Machine& machine, int32_t batch,
                   int64_t context);

// The same by several measurements of one machine: the mean of the times they give.
double PredictRate(const PredictionInput& input, const std::vector<Machine>& machines,
                   int32_t batch, int64_t context);

}  // namespace tandem
