// What RotateQuery computes, in plain loops over host memory; see rotate_query.h.
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

// One token's one head. `to` may be `from`.
void RotateQueryReference(int32_t rope, const bf16* from, const float* cos, const float* sin,
                          bf16* to);

}  // namespace tandem
