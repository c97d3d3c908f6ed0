#include "gpu_attention/cuda/rotate_query_reference.h"

namespace tandem {

void RotateQueryReference(int32_t rope, const bf16* from, const float* cos, const float* sin,
                          bf16* to) {
  for (int32_t i = 0; i < rope / 2; ++i) {
    const double even = ToFloat(from[2 * i]), odd = ToFloat(from[2 * i + 1]);
    to[2 * i] = ToBf16(static_cast<float>(even * cos[i] - odd * sin[i]));
    to[2 * i + 1] = ToBf16(static_cast<float>(odd * cos[i] + even * sin[i]));
  }
}

}  // namespace tandem
