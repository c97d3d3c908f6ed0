// What a request may ask of the sampler. Defaults are "as the model says": no filter, no penalty.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/status.h"

namespace tandem {

struct SamplingParams {
  float temperature = 1.0f;                     // 0: greedy
  float top_p = 1.0f;                           // (0, 1]
  int32_t top_k = 0;                            // 0: off
  float min_p = 0.0f;                           // [0, 1], relative to the most likely token
  std::optional<uint64_t> seed = std::nullopt;  // same seed, same request: same tokens
  float repetition_penalty =
      1.0f;  // > 0; divides positive, multiplies negative logits of seen tokens
  float presence_penalty = 0.0f;   // [-2, 2], once per token already generated
  float frequency_penalty = 0.0f;  // [-2, 2], times its count
  std::vector<std::pair<int32_t, float>> logit_bias = {};
  int32_t top_logprobs = -1;  // -1: none; 0: the chosen token; n: the n most likely too (<= 20)
};

struct TopLogprob {
  int32_t id;
  float logprob;
};

// Log-probabilities are those of the model itself: log-softmax of its logits, before bias,
// penalties, temperature and filters.
struct GeneratedToken {
  int32_t id;
  float logprob = 0;  // natural log; only if logprobs were asked for
  std::vector<TopLogprob> top = {};
};

// INVALID_ARGUMENT naming the field, its value and the range.
absl::Status Validate(const SamplingParams& params, int32_t vocab);

}  // namespace tandem
