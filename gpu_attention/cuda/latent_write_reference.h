// What LatentWrite computes, in plain loops over host memory; see latent_write.h.
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

// One token.
void LatentWriteReference(int32_t latent, int32_t rope, float eps,
                          const float* x,                      // [latent + rope]
                          const float* weight,                 // [latent]
                          const float* cos, const float* sin,  // [rope / 2]
                          bf16* cached);                       // [latent + rope]

}  // namespace tandem
