// bfloat16 as a storage type: 1 sign, 8 exponent, 7 mantissa bits. Arithmetic happens in float.
#pragma once

#include <bit>
#include <cstdint>

namespace tandem {

struct bf16 {
  uint16_t bits;
};
static_assert(sizeof(bf16) == 2);

[[gnu::always_inline]] constexpr float ToFloat(bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

// Round to nearest, ties to even; NaN stays NaN.
[[gnu::always_inline]] constexpr bf16 ToBf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

}  // namespace tandem
