// What RmsNorm computes, in plain loops over host memory; see rms_norm.h.
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

// One row. `add` may be null.
void RmsNormReference(int32_t dim, float eps, float* x, const float* add, const float* weight,
                      bf16* out);

}  // namespace tandem
