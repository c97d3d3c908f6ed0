// The vector vocabulary of kernels_simd.h in AVX-512 with VNNI: 16 lanes. Included by
// kernels_avx512.cpp only. Tests name another header for the intrinsics, which runs on any machine.
#pragma once

#ifdef TANDEM_AVX512_HEADER
#include TANDEM_AVX512_HEADER
#else
#include <immintrin.h>
#endif

#include <cstdint>

namespace {

using VecF = __m512;
using VecI = __m512i;
// Sums of integer products. With __m512i, whose elements GCC 12 takes for 64-bit, every product
// costs two register moves.
#ifdef TANDEM_AVX512_HEADER
using VecSum = __m512i;
#else
typedef int32_t VecSum __attribute__((vector_size(64)));
#endif
constexpr int kLanes = 16;
// Register tile of the linear kernels: 32 registers hold 24 accumulators.
constexpr int kMaxTokens = 12;
constexpr int kMaxTokensFullPanel = 12;  // a tile always spans all 32 rows

#define TANDEM_INLINE [[gnu::always_inline]] inline

TANDEM_INLINE VecF ZeroF() { return _mm512_setzero_ps(); }
TANDEM_INLINE VecF Set1(float x) { return _mm512_set1_ps(x); }
TANDEM_INLINE VecF Load(const float* p) { return _mm512_loadu_ps(p); }
TANDEM_INLINE void Store(float* p, VecF v) { _mm512_storeu_ps(p, v); }
TANDEM_INLINE VecF Add(VecF a, VecF b) { return _mm512_add_ps(a, b); }
TANDEM_INLINE VecF Sub(VecF a, VecF b) { return _mm512_sub_ps(a, b); }
TANDEM_INLINE VecF Mul(VecF a, VecF b) { return _mm512_mul_ps(a, b); }
TANDEM_INLINE VecF Div(VecF a, VecF b) { return _mm512_div_ps(a, b); }
TANDEM_INLINE VecF Max(VecF a, VecF b) { return _mm512_max_ps(a, b); }
TANDEM_INLINE VecF Min(VecF a, VecF b) { return _mm512_min_ps(a, b); }
TANDEM_INLINE VecF Fma(VecF a, VecF b, VecF c) { return _mm512_fmadd_ps(a, b, c); }
TANDEM_INLINE VecF Abs(VecF a) { return _mm512_abs_ps(a); }
TANDEM_INLINE VecF RoundEven(VecF a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// 2^n for integral n in [-126, 127].
TANDEM_INLINE VecF Exp2Int(VecF n) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
}
TANDEM_INLINE float ReduceAdd(VecF v) {
  __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
TANDEM_INLINE float ReduceMax(VecF v) {
  __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// kLanes consecutive BF16 values.
TANDEM_INLINE VecF LoadBf16(const void* p) {
  const __m256i bits = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
// kLanes pairs of BF16 values: the first members, the second members.
TANDEM_INLINE VecI LoadPairs(const void* p) { return _mm512_loadu_si512(p); }
TANDEM_INLINE VecF FirstOfPairs(VecI v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); }
TANDEM_INLINE VecF SecondOfPairs(VecI v) {
  return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(-65536)));
}

TANDEM_INLINE VecSum ZeroSum() { return (VecSum)_mm512_setzero_si512(); }
// kLanes pairs of INT8 values, widened to INT16.
TANDEM_INLINE VecI LoadInt8Pairs(const void* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
TANDEM_INLINE VecI BroadcastPair(const int16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, 4);
  return _mm512_set1_epi32(pair);
}
// sum += w[2i] * x[2i] + w[2i + 1] * x[2i + 1] in every lane i.
TANDEM_INLINE void DotPairs(VecSum& sum, VecI w, VecI x) {
  sum = (VecSum)_mm512_dpwssd_epi32((__m512i)sum, w, x);
}
TANDEM_INLINE VecF ToFloats(VecSum v) { return _mm512_cvtepi32_ps((__m512i)v); }
// Rounds kLanes floats to nearest even and stores them as INT16.
TANDEM_INLINE void StoreRoundedInt16(int16_t* p, VecF v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v)));
}
TANDEM_INLINE void Prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

}  // namespace
