// What the two 256-bit instruction sets, AVX2 and AVX-VNNI, share: registers of 8 rows.
// Included only by kernel_<isa>.cpp files.
#pragma once

#include "cpu_experts/kernel_simd.h"

namespace tandem {
namespace {

#define TANDEM_OP [[gnu::always_inline]] static inline

struct Base256 {
  using I = __m256i;
  using F = __m256;
  static constexpr int kVecsPerPanel = 2;
  static constexpr int kTilePanels = 1;
  static constexpr int kFloatTokens = 4;  // of a tile of F32 FMAs
  static constexpr int TileTokens(int /*planes*/) { return 4; }

  TANDEM_OP void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

  TANDEM_OP I Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  TANDEM_OP void Store(void* p, I x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
  TANDEM_OP I LowNibbles(I x) { return _mm256_and_si256(x, _mm256_set1_epi8(0x0f)); }
  TANDEM_OP I HighNibbles(I x) {
    return _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(0x0f));
  }
  TANDEM_OP I Broadcast(const void* p) {
    int32_t value;
    __builtin_memcpy(&value, p, sizeof(value));
    return _mm256_set1_epi32(value);
  }
  TANDEM_OP I ZeroSum() { return _mm256_setzero_si256(); }
  TANDEM_OP I Add(I a, I b) { return _mm256_add_epi32(a, b); }
  TANDEM_OP I Sub(I a, I b) { return _mm256_sub_epi32(a, b); }
  TANDEM_OP I ShiftPlane(I x) { return _mm256_slli_epi32(x, kPlaneShift); }
  TANDEM_OP I HighPlane(I code) {
    return _mm256_srai_epi32(_mm256_add_epi32(code, _mm256_set1_epi32(64)), kPlaneShift);
  }
  TANDEM_OP int32_t ReduceAdd(I x) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
  }
  // Eight codes in [-127, 127] as bytes.
  TANDEM_OP void StoreInt8(int8_t* p, I x) {
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }

  TANDEM_OP F Zero() { return _mm256_setzero_ps(); }
  TANDEM_OP F Set(float x) { return _mm256_set1_ps(x); }
  TANDEM_OP F LoadF(const float* p) { return _mm256_loadu_ps(p); }
  TANDEM_OP void StoreF(float* p, F x) { _mm256_storeu_ps(p, x); }
  TANDEM_OP F LoadBf16(const void* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  // BF16 pairs of a dword as floats, and floats rounded to BF16 (nearest, ties to even).
  TANDEM_OP F LowBf16(I x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
  TANDEM_OP F HighBf16(I x) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(x, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  TANDEM_OP F RoundBf16(F x) {
    const I u = _mm256_castps_si256(x);
    const I odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const I up = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    return HighBf16(_mm256_add_epi32(u, up));
  }
  TANDEM_OP void StoreBf16(void* p, F x) {
    const I words = _mm256_srli_epi32(_mm256_castps_si256(RoundBf16(x)), 16);
    _mm_storeu_si128(
        static_cast<__m128i*>(p),
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  }
  // Nibble n of every dword as a float, 0..15.
  template <int n>
  TANDEM_OP F NibbleF(I x) {
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(x, 4 * n), _mm256_set1_epi32(15)));
  }
  TANDEM_OP F BroadcastF(const void* p) { return _mm256_castsi256_ps(Broadcast(p)); }
  TANDEM_OP F ToFloat(I x) { return _mm256_cvtepi32_ps(x); }
  TANDEM_OP I ToInt(F x) { return _mm256_cvtps_epi32(x); }  // nearest, ties to even
  TANDEM_OP F Round(F x) {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  TANDEM_OP F AddF(F a, F b) { return _mm256_add_ps(a, b); }
  TANDEM_OP F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  TANDEM_OP F Div(F a, F b) { return _mm256_div_ps(a, b); }
  TANDEM_OP F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  TANDEM_OP F Max(F a, F b) { return _mm256_max_ps(a, b); }
  TANDEM_OP F Min(F a, F b) { return _mm256_min_ps(a, b); }
  TANDEM_OP F Abs(F x) {
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
  }
  TANDEM_OP float ReduceMax(F x) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    m = _mm_max_ss(m, _mm_movehdup_ps(m));
    return _mm_cvtss_f32(m);
  }
  // x * 2^n, n integral in [-126, 127].
  TANDEM_OP F ScaleByPowerOfTwo(F x, F n) {
    const I exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }
};

}  // namespace
}  // namespace tandem
