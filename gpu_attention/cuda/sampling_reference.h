// What SampleTokens computes, in plain loops over host memory; see sampling.h.
#pragma once

#include <cstdint>

#include "gpu_attention/row_sampling.h"

namespace tandem {

SampledToken SampleReference(const float* logits, int32_t vocab, const RowSampling& how);

}  // namespace tandem
