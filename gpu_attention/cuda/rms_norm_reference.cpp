#include "gpu_attention/cuda/rms_norm_reference.h"

#include <cmath>

namespace tandem {

void RmsNormReference(int32_t dim, float eps, float* x, const float* add, const float* weight,
                      bf16* out) {
  double squares = 0;
  for (int32_t i = 0; i < dim; ++i) {
    if (add != nullptr) x[i] += add[i];
    squares += double{x[i]} * x[i];
  }
  const double factor = 1 / std::sqrt(squares / dim + eps);
  for (int32_t i = 0; i < dim; ++i) out[i] = ToBf16(static_cast<float>(x[i] * factor * weight[i]));
}

}  // namespace tandem
