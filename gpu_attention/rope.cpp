#include "gpu_attention/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tandem {
namespace {

// The (fractional) pair whose wave makes `turns` turns within the original context.
double PairOfTurns(double turns, int32_t dim, double base, double original_positions) {
  return dim * std::log(original_positions / (turns * 2 * std::numbers::pi)) / (2 * std::log(base));
}

double YarnFactor(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

}  // namespace

std::vector<float> RopeFrequencies(const ModelShape& shape) {
  const int32_t dim = shape.qk_rope_dim;
  const YarnShape& yarn = shape.yarn;
  std::vector<float> frequencies(dim / 2);
  double low = 0, high = 0;
  if (yarn.factor > 1) {
    const auto original = static_cast<double>(yarn.original_max_positions);
    low = std::max(0.0, std::floor(PairOfTurns(yarn.beta_fast, dim, shape.rope_theta, original)));
    high = std::min(dim - 1.0,
                    std::ceil(PairOfTurns(yarn.beta_slow, dim, shape.rope_theta, original)));
    if (low == high) high += 0.001;
  }
  for (int32_t i = 0; i < dim / 2; ++i) {
    const double plain = std::pow(shape.rope_theta, -2.0 * i / dim);
    const double ramp = yarn.factor > 1 ? std::clamp((i - low) / (high - low), 0.0, 1.0) : 0.0;
    frequencies[i] = static_cast<float>(plain / yarn.factor * ramp + plain * (1 - ramp));
  }
  return frequencies;
}

float RopeMagnitude(const YarnShape& yarn) {
  return static_cast<float>(YarnFactor(yarn.factor, yarn.mscale) /
                            YarnFactor(yarn.factor, yarn.mscale_all_dim));
}

float AttentionScale(const ModelShape& shape) {
  const double m = YarnFactor(shape.yarn.factor, shape.yarn.mscale_all_dim);
  return static_cast<float>(m * m / std::sqrt(static_cast<double>(shape.qk_dim())));
}

void RopeRow(std::span<const float> frequencies, float magnitude, int64_t position, float* cos,
             float* sin) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * frequencies[i];
    cos[i] = static_cast<float>(std::cos(double{angle})) * magnitude;
    sin[i] = static_cast<float>(std::sin(double{angle})) * magnitude;
  }
}

void Rotate(const float* x, const float* cos, const float* sin, int32_t pairs, float* out) {
  for (int32_t i = 0; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    out[2 * i] = a * cos[i] - b * sin[i];
    out[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

}  // namespace tandem
