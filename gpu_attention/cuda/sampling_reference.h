// What SampleTokens computes, in plain loops over host memory; see sampling.h.
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
  int32_t id = -1;
  float logprob = 0;
};

SampledToken SampleReference(const float* logits, int32_t vocab, const RowSampling& how);

}  // namespace tandem
