// AVX-512 intrinsics for machines without them: SIMDe, and the few that SIMDe 0.7.4 lacks.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cmath>
#include <cstdint>
#include <cstring>

// SIMDe's rounds twice.
#undef _mm512_fmadd_ps

#ifndef _MM_FROUND_NO_EXC
#define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC
#endif

namespace {

template <class To, class From, int kN, class FromElement, class ToElement, class Convert>
To ConvertEach(From from, Convert convert) {
  FromElement in[kN];
  ToElement out[kN];
  std::memcpy(in, &from, sizeof(in));
  for (int i = 0; i < kN; ++i) out[i] = convert(in[i]);
  To to;
  std::memcpy(&to, out, sizeof(out));
  return to;
}

inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  float x[16], y[16], z[16];
  std::memcpy(x, &a, sizeof(x));
  std::memcpy(y, &b, sizeof(y));
  std::memcpy(z, &c, sizeof(z));
  for (int i = 0; i < 16; ++i) z[i] = std::fma(x[i], y[i], z[i]);
  std::memcpy(&c, z, sizeof(z));
  return c;
}
inline __m512i _mm512_cvtps_epi32(__m512 v) {
  return ConvertEach<__m512i, __m512, 16, float, int32_t>(
      v, [](float x) { return static_cast<int32_t>(std::lrint(x)); });
}
inline __m512 _mm512_cvtepi32_ps(__m512i v) {
  return ConvertEach<__m512, __m512i, 16, int32_t, float>(
      v, [](int32_t x) { return static_cast<float>(x); });
}
inline __m512i _mm512_cvtepu16_epi32(__m256i v) {
  return ConvertEach<__m512i, __m256i, 16, uint16_t, int32_t>(
      v, [](uint16_t x) { return static_cast<int32_t>(x); });
}
inline __m256i _mm512_cvtepi32_epi16(__m512i v) {
  return ConvertEach<__m256i, __m512i, 16, int32_t, int16_t>(
      v, [](int32_t x) { return static_cast<int16_t>(x); });
}
inline __m256 _mm512_extractf32x8_ps(__m512 v, int half) {
  float all[16];
  std::memcpy(all, &v, sizeof(all));
  __m256 part;
  std::memcpy(&part, all + half * 8, sizeof(part));
  return part;
}

}  // namespace
