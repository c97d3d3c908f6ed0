// Rotary positions with YaRN context extension (arXiv 2309.00071, as DeepSeek-V3 and Kimi use it).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model_shape.h"

namespace tandem {

// Frequencies of the rope_dim / 2 pairs: base^(-2i/d), slowed down by the YaRN factor where a
// full turn is longer than the original context, with a linear ramp between.
std::vector<float> RopeFrequencies(const ModelShape& shape);

// What cos and sin are multiplied by: 1 in all Kimi models.
float RopeMagnitude(const YarnShape& yarn);

// 1 / sqrt(qk_dim), times the square of YaRN's attention factor 0.1 mscale_all_dim ln(factor) + 1.
float AttentionScale(const ModelShape& shape);

// cos and sin of position * frequency. The product is rounded to F32, as the references do: at
// position 262,143 that moves angles by up to 0.02.
void RopeRow(std::span<const float> frequencies, float magnitude, int64_t position, float* cos,
             float* sin);

// Rotates interleaved pairs: (x[2i], x[2i+1]) by the angle whose cos, sin are given. out may be x.
void Rotate(const float* x, const float* cos, const float* sin, int32_t pairs, float* out);

}  // namespace tandem
