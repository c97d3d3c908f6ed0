// Plain loops: the specification of every kernel, and what runs on a CPU without AVX2.
// std::fma keeps the linear kernels bit-equal to the vector ones.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "gpu_attention/host/dense_kernels.h"

namespace tandem {
namespace {

float WeightBf16(const std::byte* panel, int32_t k, int32_t row) {
  bf16 w;
  std::memcpy(&w, panel + (int64_t{k / 2} * kDensePanelRows * 2 + row * 2 + k % 2) * 2, 2);
  return ToFloat(w);
}

float WeightF32(const std::byte* panel, int32_t k, int32_t row) {
  float w;
  std::memcpy(&w, panel + (int64_t{k} * kDensePanelRows + row) * 4, 4);
  return w;
}

template <float (*kWeight)(const std::byte*, int32_t, int32_t)>
void LinearFloat(const LinearArgs& a) {
  for (int32_t panel = 0; panel < a.n_panels; ++panel) {
    const std::byte* w = a.panels + panel * a.panel_bytes;
    for (int32_t t = 0; t < a.tokens; ++t) {
      for (int32_t row = 0; row < kDensePanelRows; ++row) {
        float sum = 0;
        for (int32_t k = 0; k < a.cols; ++k)
          sum = std::fma(kWeight(w, k, row), a.x[t * a.x_stride + k], sum);
        a.y[t * a.y_stride + panel * kDensePanelRows + row] = sum;
      }
    }
  }
}

// Integer dot product of one row over one group; |sum| < 128 * 127 * 32767 < 2^30.
int32_t GroupDot(const std::byte* lines, int32_t row, const int16_t* x) {
  int32_t sum = 0;
  for (int32_t k = 0; k < kScaleGroup; ++k)
    sum += static_cast<int8_t>(lines[k / 2 * kDensePanelRows * 2 + row * 2 + k % 2]) * x[k];
  return sum;
}

void LinearInt8(const LinearArgs& a) {
  const int32_t groups = a.cols / kScaleGroup;
  for (int32_t panel = 0; panel < a.n_panels; ++panel) {
    const std::byte* w = a.panels + panel * a.panel_bytes;
    for (int32_t t = 0; t < a.tokens; ++t) {
      for (int32_t row = 0; row < kDensePanelRows; ++row) {
        float sum = 0;
        for (int32_t g = 0; g < groups; ++g) {
          const std::byte* group = w + g * kInt8GroupBytes;
          bf16 scale;
          std::memcpy(&scale, group + row * 2, 2);
          const int32_t dot = GroupDot(group + kDensePanelRows * 2, row,
                                       a.xq + t * a.xq_stride + int64_t{g} * kScaleGroup);
          sum = std::fma(static_cast<float>(dot),
                         ToFloat(scale) * a.xq_scales[t * a.xq_scales_stride + g], sum);
        }
        a.y[t * a.y_stride + panel * kDensePanelRows + row] = sum;
      }
    }
  }
}

void Quantize(const float* x, int32_t n, int16_t* q, float* scales) {
  for (int32_t g = 0; g * kScaleGroup < n; ++g) {
    const int32_t begin = g * kScaleGroup, end = std::min(n, begin + kScaleGroup);
    float max = 0;
    for (int32_t i = begin; i < end; ++i) max = std::max(max, std::fabs(x[i]));
    scales[g] = max / 32767.0f;
    const float inverse = max > 0 ? 32767.0f / max : 0.0f;
    for (int32_t i = begin; i < begin + kScaleGroup; ++i)
      q[i] = i < end ? static_cast<int16_t>(std::lrint(std::min(x[i] * inverse, 32767.0f))) : 0;
  }
}

void RmsNorm(const float* x, const float* weight, int32_t n, float eps, float* y) {
  double squares = 0;
  for (int32_t i = 0; i < n; ++i) squares += double{x[i]} * x[i];
  const auto factor = static_cast<float>(1.0 / std::sqrt(squares / n + eps));
  for (int32_t i = 0; i < n; ++i) y[i] = weight[i] * (x[i] * factor);
}

void SiluMul(const float* gate, const float* up, int32_t n, float* y) {
  for (int32_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void AttendRow(const AttendArgs& a, int32_t row) {
  float max = -INFINITY, sum = 0;
  float* out = a.out + row * a.out_stride;
  const float* query = a.queries + row * a.queries_stride;
  std::fill_n(out, a.latent_dim, 0.0f);
  for (int32_t s = 0; s < a.visible[row]; ++s) {
    const bf16* cached =
        a.cache +
        (a.pages[s / kAttendPageTokens] * kAttendPageTokens + s % kAttendPageTokens) * a.cache_dim;
    float score = 0;
    for (int32_t d = 0; d < a.cache_dim; ++d) score += query[d] * ToFloat(cached[d]);
    score *= a.scale;
    const float new_max = std::max(max, score);
    const float shrink = std::exp(max - new_max), p = std::exp(score - new_max);
    sum = sum * shrink + p;
    for (int32_t d = 0; d < a.latent_dim; ++d) out[d] = out[d] * shrink + p * ToFloat(cached[d]);
    max = new_max;
  }
  for (int32_t d = 0; d < a.latent_dim; ++d) out[d] /= sum;
}

void Attend(const AttendArgs& a) {
  for (int32_t row = 0; row < a.rows; ++row) AttendRow(a, row);
}

}  // namespace

constinit const DenseKernels kDenseTableScalar = {
    .name = "scalar",
    .linear_bf16 = LinearFloat<WeightBf16>,
    .linear_f32 = LinearFloat<WeightF32>,
    .linear_int8 = LinearInt8,
    .quantize = Quantize,
    .rms_norm = RmsNorm,
    .silu_mul = SiluMul,
    .attend = Attend,
};

}  // namespace tandem
