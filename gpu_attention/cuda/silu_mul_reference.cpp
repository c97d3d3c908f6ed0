#include "gpu_attention/cuda/silu_mul_reference.h"

#include <cmath>

namespace tandem {

void SiluMulReference(const float* gate_up, int64_t rows, int64_t width, int64_t in_row,
                      bf16* out) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      const double gate = gate_up[row * in_row + i], up = gate_up[row * in_row + width + i];
      out[row * width + i] = ToBf16(static_cast<float>(gate / (1.0 + std::exp(-gate)) * up));
    }
  }
}

}  // namespace tandem
