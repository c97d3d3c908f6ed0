#include "engine/checkpoint/convert.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/status.h"

namespace tandem {
namespace {

template <class T>
T LoadAs(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

const std::array<float, 256>& Fp8Table() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> t;
    for (int bits = 0; bits < 256; ++bits) t[bits] = Fp8E4M3ToFloat(static_cast<uint8_t>(bits));
    return t;
  }();
  return table;
}

}  // namespace

bool IsFloatDType(DType dtype) {
  return dtype == DType::kBf16 || dtype == DType::kF16 || dtype == DType::kF32 ||
         dtype == DType::kF8E4M3;
}

float HalfToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

float Fp8E4M3ToFloat(uint8_t bits) {
  const int exponent = (bits >> 3) & 15, mantissa = bits & 7;
  const float sign = (bits & 0x80) != 0 ? -1.0f : 1.0f;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  if (exponent == 0) return sign * static_cast<float>(mantissa) * 0x1p-9f;
  return sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

void ToFloats(DType dtype, std::span<const std::byte> from, std::span<float> to) {
  const std::byte* p = from.data();
  switch (dtype) {
    case DType::kBf16:
      for (size_t i = 0; i < to.size(); ++i) to[i] = ToFloat(LoadAs<bf16>(p + 2 * i));
      return;
    case DType::kF16:
      for (size_t i = 0; i < to.size(); ++i) to[i] = HalfToFloat(LoadAs<uint16_t>(p + 2 * i));
      return;
    case DType::kF32:
      std::memcpy(to.data(), p, to.size_bytes());
      return;
    case DType::kF8E4M3: {
      const auto& table = Fp8Table();
      for (size_t i = 0; i < to.size(); ++i) to[i] = table[static_cast<uint8_t>(p[i])];
      return;
    }
    default:
      TANDEM_CHECK(false, "only float dtypes are converted");
  }
}

void ToBf16s(std::span<const float> from, std::span<bf16> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToBf16(from[i]);
}

}  // namespace tandem
