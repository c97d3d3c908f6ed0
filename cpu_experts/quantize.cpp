#include "cpu_experts/quantize.h"

#include <algorithm>
#include <cmath>

namespace tandem {
namespace {

constexpr int kGroup = 32;
constexpr float kZeroGroupScale = 0x1p-7f;  // BF16's epsilon, as the library has it
// Adding and subtracting 1.5 * 2^23 rounds a small float to the nearest integer, ties to even.
constexpr float kRoundingMagic = 12582912.0f;

void QuantizeGroup(const bf16* weights, uint8_t* packed, bf16* scale_out) {
  float values[kGroup];
  float largest = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    values[i] = ToFloat(weights[i]);
    largest = std::max(largest, std::fabs(values[i]));
  }
  bf16 scale = ToBf16(largest / 7.5f);
  if (ToFloat(scale) <= 0.0f) scale = ToBf16(kZeroGroupScale);
  *scale_out = scale;

  const float divisor = ToFloat(scale);
  int32_t nibbles[kGroup];
  for (int i = 0; i < kGroup; ++i) {
    // The library divides in the weights' dtype: the quotient is a BF16 number before it is rounded
    // to an integer. 3.499 becomes 3.5 and then 4.
    const float quotient = ToFloat(ToBf16(values[i] / divisor));
    const float clamped = std::min(std::max(-8.0f, quotient), 7.0f);  // -8 for not-a-number
    nibbles[i] = static_cast<int32_t>((clamped + kRoundingMagic) - kRoundingMagic) + 8;
  }
  for (int i = 0; i < kGroup / 2; ++i)
    packed[i] = static_cast<uint8_t>(nibbles[2 * i] | nibbles[2 * i + 1] << 4);
}

}  // namespace

void QuantizeInt4(View<const bf16, 2> weights, View<uint8_t, 2> packed, View<bf16, 2> scales) {
  for (int64_t row = 0; row < weights.dim(0); ++row) {
    for (int64_t g = 0; g < weights.dim(1) / kGroup; ++g) {
      QuantizeGroup(weights.row(row) + g * kGroup, packed.row(row) + g * kGroup / 2,
                    scales.row(row) + g);
    }
  }
}

Int4Storage QuantizeInt4(View<const bf16, 2> weights) {
  Int4Storage storage;
  storage.rows = weights.dim(0);
  storage.inputs = weights.dim(1);
  storage.packed.resize(storage.rows * storage.inputs / 2);
  storage.scales.resize(storage.rows * storage.inputs / kGroup);
  QuantizeInt4(weights, {storage.packed.data(), {storage.rows, storage.inputs / 2}},
               {storage.scales.data(), {storage.rows, storage.inputs / kGroup}});
  return storage;
}

}  // namespace tandem
