// Element conversions of a load: checkpoint dtypes to float and to BF16.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/bf16.h"
#include "core/dtype.h"

namespace tandem {

// True for the dtypes that the two functions below read: BF16, F16, F32, F8_E4M3.
bool IsFloatDType(DType dtype);

// `from` holds n elements of `dtype`, any alignment. REQUIRES: IsFloatDType(dtype).
void ToFloats(DType dtype, std::span<const std::byte> from, std::span<float> to);
// Rounds to nearest even.
void ToBf16s(std::span<const float> from, std::span<bf16> to);

// IEEE half precision and OCP FP8 E4M3 (no infinities, 0x7f and 0xff are NaN).
float HalfToFloat(uint16_t bits);
float Fp8E4M3ToFloat(uint8_t bits);

}  // namespace tandem
