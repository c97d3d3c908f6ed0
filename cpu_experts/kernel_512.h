// What the AVX-512 instruction sets share: registers of 16 rows, a whole line of a panel. Included
// only by kernel_<isa>.cpp files.
#pragma once

#include "cpu_experts/kernel_simd.h"

namespace tandem {
namespace {

#define TANDEM_OP [[gnu::always_inline]] static inline

// With one token a group is 4 loads, 12 logic, 8 vpdpbusd with broadcast memory operands and 5
// operations on the sum.
struct Base512 {
  using I = __m512i;
  using F = __m512;
  using Sum = __m512i;  // int32
  static constexpr int kVecsPerPanel = 1;
  static constexpr int kTilePanels = 2;
  static constexpr int kFloatTokens = 8;  // of a tile of F32 FMAs
  // 2 x 6 integer and as many float accumulators leave 8 of the 32 registers for operands.
  static constexpr int TileTokens(int planes) { return planes == 1 ? 6 : 4; }
  static constexpr bool kSumStartsFromTotal = true;

  TANDEM_OP void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

  TANDEM_OP I Load(const void* p) { return _mm512_loadu_si512(p); }
  TANDEM_OP void Store(void* p, I x) { _mm512_storeu_si512(p, x); }
  TANDEM_OP I LowNibbles(I x) { return _mm512_and_si512(x, _mm512_set1_epi8(0x0f)); }
  TANDEM_OP I HighNibbles(I x) {
    return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(0x0f));
  }
  TANDEM_OP I Broadcast(const void* p) {
    int32_t value;
    __builtin_memcpy(&value, p, sizeof(value));
    return _mm512_set1_epi32(value);
  }
  TANDEM_OP Sum Dot(Sum sum, I weights, I codes) {
    return _mm512_dpbusd_epi32(sum, weights, codes);
  }
  TANDEM_OP I ZeroSum() { return _mm512_setzero_si512(); }
  TANDEM_OP I Add(I a, I b) { return _mm512_add_epi32(a, b); }
  TANDEM_OP I Sub(I a, I b) { return _mm512_sub_epi32(a, b); }
  TANDEM_OP I ShiftPlane(I x) { return _mm512_slli_epi32(x, kPlaneShift); }
  TANDEM_OP I HighPlane(I code) {
    return _mm512_srai_epi32(_mm512_add_epi32(code, _mm512_set1_epi32(64)), kPlaneShift);
  }
  TANDEM_OP int32_t ReduceAdd(I x) { return _mm512_reduce_add_epi32(x); }
  TANDEM_OP void StoreInt8(int8_t* p, I x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  }

  TANDEM_OP F Zero() { return _mm512_setzero_ps(); }
  TANDEM_OP F Set(float x) { return _mm512_set1_ps(x); }
  TANDEM_OP F LoadF(const float* p) { return _mm512_loadu_ps(p); }
  TANDEM_OP void StoreF(float* p, F x) { _mm512_storeu_ps(p, x); }
  TANDEM_OP F LoadBf16(const void* p) {
    const __m256i half = _mm256_loadu_si256(static_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  // BF16 pairs of a dword as floats, and floats rounded to BF16 (nearest, ties to even).
  TANDEM_OP F LowBf16(I x) { return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)); }
  TANDEM_OP F HighBf16(I x) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  TANDEM_OP F RoundBf16(F x) {
    const I u = _mm512_castps_si512(x);
    const I odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const I up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    return HighBf16(_mm512_add_epi32(u, up));
  }
  TANDEM_OP void StoreBf16(void* p, F x) {
    const I words = _mm512_srli_epi32(_mm512_castps_si512(RoundBf16(x)), 16);
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(words));
  }
  // Nibble n of every dword as a float, 0..15.
  template <int n>
  TANDEM_OP F NibbleF(I x) {
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(x, 4 * n), _mm512_set1_epi32(15)));
  }
  TANDEM_OP F BroadcastF(const void* p) { return _mm512_castsi512_ps(Broadcast(p)); }
  TANDEM_OP F ToFloat(I x) { return _mm512_cvtepi32_ps(x); }
  TANDEM_OP I ToInt(F x) { return _mm512_cvtps_epi32(x); }          // nearest, ties to even
  TANDEM_OP F Round(F x) { return _mm512_roundscale_ps(x, 0x08); }  // nearest, quiet
  TANDEM_OP F AddF(F a, F b) { return _mm512_add_ps(a, b); }
  TANDEM_OP F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  TANDEM_OP F Div(F a, F b) { return _mm512_div_ps(a, b); }
  TANDEM_OP F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  TANDEM_OP F Max(F a, F b) { return _mm512_max_ps(a, b); }
  TANDEM_OP F Min(F a, F b) { return _mm512_min_ps(a, b); }
  TANDEM_OP F Abs(F x) { return _mm512_abs_ps(x); }
  TANDEM_OP float ReduceMax(F x) { return _mm512_reduce_max_ps(x); }
  // x * 2^n, n integral in [-126, 127].
  TANDEM_OP F ScaleByPowerOfTwo(F x, F n) {
    const I exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_mul_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23)));
  }
};

}  // namespace
}  // namespace tandem
