// How a backend is asked to choose a token itself, with the rules of engine/sampler.h.
#pragma once

#include <cstdint>

namespace tandem {

struct RowSampling {
  double uniform = 0;     // in [0, 1)
  float temperature = 0;  // below 1e-5: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;        // 1: off
  float min_p = 0;        // 0: off
};

struct SampledToken {
  int32_t id = -1;    // -1: a logit is not finite
  float logprob = 0;  // log-softmax of the logits as they are
};

}  // namespace tandem
