#include "gpu_attention/cuda/latent_write_reference.h"

#include <cmath>

namespace tandem {

void LatentWriteReference(int32_t latent, int32_t rope, float eps, const float* x,
                          const float* weight, const float* cos, const float* sin, bf16* cached) {
  double squares = 0;
  for (int32_t i = 0; i < latent; ++i) squares += double{x[i]} * x[i];
  const double factor = 1 / std::sqrt(squares / latent + eps);
  for (int32_t i = 0; i < latent; ++i)
    cached[i] = ToBf16(static_cast<float>(x[i] * factor * weight[i]));
  const float* key = x + latent;
  for (int32_t i = 0; i < rope / 2; ++i) {
    const double even = key[2 * i], odd = key[2 * i + 1];
    cached[latent + 2 * i] = ToBf16(static_cast<float>(even * cos[i] - odd * sin[i]));
    cached[latent + 2 * i + 1] = ToBf16(static_cast<float>(odd * cos[i] + even * sin[i]));
  }
}

}  // namespace tandem
