// Passes over one row of logits that the sampler and the scorer share. Written so that the compiler
// vectorises them: a row of 163,840 logits takes some 100 us a pass.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/status.h"
#include "engine/sampling.h"

namespace tandem {

struct LogitRange {
  float min = 0;
  float max = 0;
};

// INTERNAL when a logit is NaN or infinite (the index is named).
absl::StatusOr<LogitRange> FiniteRange(std::span<const float> logits);

// Index of the largest logit, the lowest one among equals. REQUIRES: finite, not empty.
int32_t ArgMax(std::span<const float> logits, float max);

// weights[i] = exp((logits[i] - max) * scale); returns their sum. Relative error below 4e-7;
// weights under 1e-37 become 0. REQUIRES: scale >= 0, same sizes.
double ExpWeights(std::span<const float> logits, float max, float scale, std::span<float> weights);

// Sum of one row, in blocks: the float error stays below 1e-6 of it. REQUIRES: values >= 0.
double Sum(std::span<const float> values);

// ln sum_i exp(logits[i]), without storing anything.
double LogSumExp(std::span<const float> logits, float max);

// The n most likely tokens, best first, lower id first among equals; logprob = logit -
// log_sum_exp.
std::vector<TopLogprob> TopTokens(std::span<const float> logits, double log_sum_exp, int32_t n);

}  // namespace tandem
