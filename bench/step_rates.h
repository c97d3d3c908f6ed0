// Decode and prefill rates of a loaded model by batch and context: the engine's own steps (forward
// pass, sampling, reports), put together without its queue, so that 32 sequences with 4,096 cached
// tokens each need not be prefilled one by one.
#pragma once

#include <cstdint>
#include <vector>

#include "core/status.h"
#include "engine/engine_loop.h"

namespace tandem {

struct StepRatesOptions {
  std::vector<int32_t> batches = {1, 8, 32};
  std::vector<int64_t> contexts = {128, 4096};
  int32_t steps = 16;  // timed decode steps of a batch and context
  // Prompts are really prefilled, one per context at least, until this is spent; the other
  // sequences get copies of their pages, and go on with tokens of their own. Greedy.
  double prefill_s = 5;
  uint64_t seed = 1;
};

struct StepRate {
  int32_t batch = 0;  // 0: prefill of one prompt
  int64_t context = 0;
  double mean_cached = 0;  // decode: tokens that a sequence had cached; it grows as it goes on
  double tok_per_s = 0;    // median
  double spread = 0;       // (upper - lower quartile) / median
  double predicted_tok_per_s = 0;  // by the cost model, if somebody asked it
};

// Tokens of latent cache that this takes.
int64_t StepRatesKvTokens(const StepRatesOptions& options);

// Prefill rates of all contexts, then decode rates. Errors: INVALID_ARGUMENT for contexts beyond
// the model's or the cache's, whatever a step fails with.
absl::StatusOr<std::vector<StepRate>> MeasureStepRates(EngineParts& parts,
                                                       const StepRatesOptions& options);

// Several measurements of the same rates: medians of rates; the spread is (highest - lowest) /
// median then. REQUIRES: at least one.
std::vector<StepRate> MedianRates(const std::vector<std::vector<StepRate>>& rounds);

}  // namespace tandem
