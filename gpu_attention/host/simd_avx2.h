// The vector vocabulary of kernels_simd.h in AVX2 + FMA: 8 lanes. Included by kernels_avx2.cpp
// only.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

using VecF = __m256;
using VecI = __m256i;
// Sums of integer products. With __m256i, whose elements GCC 12 takes for 64-bit, every addition
// costs register moves and a tile of 6 x 16 spills.
typedef int32_t VecSum __attribute__((vector_size(32)));
constexpr int kLanes = 8;
// Register tile of the linear kernels: 16 registers hold 12 accumulators.
constexpr int kMaxTokens = 6;
constexpr int kMaxTokensFullPanel = 3;  // up to here a tile spans all 32 rows, else half a panel

#define TANDEM_INLINE [[gnu::always_inline]] inline

TANDEM_INLINE VecF ZeroF() { return _mm256_setzero_ps(); }
TANDEM_INLINE VecF Set1(float x) { return _mm256_set1_ps(x); }
TANDEM_INLINE VecF Load(const float* p) { return _mm256_loadu_ps(p); }
TANDEM_INLINE void Store(float* p, VecF v) { _mm256_storeu_ps(p, v); }
TANDEM_INLINE VecF Add(VecF a, VecF b) { return _mm256_add_ps(a, b); }
TANDEM_INLINE VecF Sub(VecF a, VecF b) { return _mm256_sub_ps(a, b); }
TANDEM_INLINE VecF Mul(VecF a, VecF b) { return _mm256_mul_ps(a, b); }
TANDEM_INLINE VecF Div(VecF a, VecF b) { return _mm256_div_ps(a, b); }
TANDEM_INLINE VecF Max(VecF a, VecF b) { return _mm256_max_ps(a, b); }
TANDEM_INLINE VecF Min(VecF a, VecF b) { return _mm256_min_ps(a, b); }
TANDEM_INLINE VecF Fma(VecF a, VecF b, VecF c) { return _mm256_fmadd_ps(a, b, c); }
TANDEM_INLINE VecF Abs(VecF a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
TANDEM_INLINE VecF RoundEven(VecF a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// 2^n for integral n in [-126, 127].
TANDEM_INLINE VecF Exp2Int(VecF n) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
TANDEM_INLINE float ReduceAdd(VecF v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
TANDEM_INLINE float ReduceMax(VecF v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// kLanes consecutive BF16 values.
TANDEM_INLINE VecF LoadBf16(const void* p) {
  const __m128i bits = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
// kLanes pairs of BF16 values: the first members, the second members.
TANDEM_INLINE VecI LoadPairs(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
TANDEM_INLINE VecF FirstOfPairs(VecI v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
TANDEM_INLINE VecF SecondOfPairs(VecI v) {
  return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(-65536)));
}

TANDEM_INLINE VecSum ZeroSum() { return VecSum{}; }
// kLanes pairs of INT8 values, widened to INT16.
TANDEM_INLINE VecI LoadInt8Pairs(const void* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
TANDEM_INLINE VecI BroadcastPair(const int16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, 4);
  return _mm256_set1_epi32(pair);
}
// sum += w[2i] * x[2i] + w[2i + 1] * x[2i + 1] in every lane i.
TANDEM_INLINE void DotPairs(VecSum& sum, VecI w, VecI x) {
  sum += reinterpret_cast<VecSum>(_mm256_madd_epi16(w, x));
}
TANDEM_INLINE VecF ToFloats(VecSum v) { return _mm256_cvtepi32_ps(reinterpret_cast<__m256i>(v)); }
// Rounds kLanes floats to nearest even and stores them as INT16.
TANDEM_INLINE void StoreRoundedInt16(int16_t* p, VecF v) {
  const __m256i i = _mm256_cvtps_epi32(v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1)));
}
TANDEM_INLINE void Prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

}  // namespace
