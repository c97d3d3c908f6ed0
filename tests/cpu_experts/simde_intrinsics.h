// AVX-512 (VNNI, BF16) and AVX-VNNI intrinsics as plain code: SIMDe, and the few that its 0.7.4
// lacks, written out from their definition.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

template <class To, class From>
To LanesOf(const From& x) {
  static_assert(sizeof(To) == sizeof(From));
  To lanes;
  std::memcpy(&lanes, &x, sizeof(lanes));
  return lanes;
}
struct Ints16 {
  int32_t at[16];
};
struct Floats16 {
  float at[16];
};

inline simde__m512 ShimCvtepi32Ps(simde__m512i x) {
  const auto in = LanesOf<Ints16>(x);
  Floats16 out;
  for (int i = 0; i < 16; ++i) out.at[i] = static_cast<float>(in.at[i]);
  return LanesOf<simde__m512>(out);
}
inline simde__m512i ShimCvtpsEpi32(simde__m512 x) {
  const auto in = LanesOf<Floats16>(x);
  Ints16 out;
  for (int i = 0; i < 16; ++i) out.at[i] = static_cast<int32_t>(std::nearbyint(in.at[i]));
  return LanesOf<simde__m512i>(out);
}
inline simde__m512i ShimCvtepu16Epi32(simde__m256i x) {
  struct Words {
    uint16_t at[16];
  };
  const auto in = LanesOf<Words>(x);
  Ints16 out;
  for (int i = 0; i < 16; ++i) out.at[i] = in.at[i];
  return LanesOf<simde__m512i>(out);
}
inline simde__m512i ShimSraiEpi32(simde__m512i x, int count) {
  auto lanes = LanesOf<Ints16>(x);
  for (int32_t& lane : lanes.at) lane >>= count;
  return LanesOf<simde__m512i>(lanes);
}
inline simde__m128i ShimCvtepi32Epi8(simde__m512i x) {
  const auto in = LanesOf<Ints16>(x);
  struct Bytes {
    uint8_t at[16];
  } out;
  for (int i = 0; i < 16; ++i) out.at[i] = static_cast<uint8_t>(in.at[i]);
  return LanesOf<simde__m128i>(out);
}
inline float ShimReduceMaxPs(simde__m512 x) {
  const auto in = LanesOf<Floats16>(x);
  float max = in.at[0];
  for (float lane : in.at) max = lane > max ? lane : max;
  return max;
}
inline int32_t ShimReduceAddEpi32(simde__m512i x) {
  int32_t sum = 0;
  for (int32_t lane : LanesOf<Ints16>(x).at) sum += lane;
  return sum;
}

struct Bf16s32 {
  uint16_t at[32];
};
inline float ShimFlush(float x) {  // denormals are zero, in and out
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}
inline float ShimFromBf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return ShimFlush(value);
}
// Per dword: the odd element's product is added first, each by an FMA.
inline simde__m512 ShimDpbf16Ps(simde__m512 sum, simde__m512i a, simde__m512i b) {
  auto out = LanesOf<Floats16>(sum);
  const auto x = LanesOf<Bf16s32>(a), y = LanesOf<Bf16s32>(b);
  for (int i = 0; i < 16; ++i) {
    for (int j : {2 * i + 1, 2 * i})
      out.at[i] =
          ShimFlush(std::fma(ShimFromBf16(x.at[j]), ShimFromBf16(y.at[j]), ShimFlush(out.at[i])));
  }
  return LanesOf<simde__m512>(out);
}
// Nearest, ties to even: b's sixteen in the low half, a's in the high half.
inline simde__m512i ShimCvtne2psPbh(simde__m512 a, simde__m512 b) {
  Bf16s32 out;
  for (int i = 0; i < 32; ++i) {
    const float value = ShimFlush(LanesOf<Floats16>(i < 16 ? b : a).at[i % 16]);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    out.at[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  return LanesOf<simde__m512i>(out);
}
inline simde__m256i ShimCvtepi32Epi16(simde__m512i x) {
  const auto in = LanesOf<Ints16>(x);
  struct Words {
    uint16_t at[16];
  } out;
  for (int i = 0; i < 16; ++i) out.at[i] = static_cast<uint16_t>(in.at[i]);
  return LanesOf<simde__m256i>(out);
}

}  // namespace

#define __m512bh simde__m512i
#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps ShimDpbf16Ps
#undef _mm512_cvtne2ps_pbh
#define _mm512_cvtne2ps_pbh ShimCvtne2psPbh
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16 ShimCvtepi32Epi16
// Without optimization the compiler's own intrinsics are macros.
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps ShimCvtepi32Ps
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 ShimCvtpsEpi32
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 ShimCvtepu16Epi32
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 ShimSraiEpi32
#undef _mm512_cvtepi32_epi8
#define _mm512_cvtepi32_epi8 ShimCvtepi32Epi8
#undef _mm512_reduce_max_ps
#define _mm512_reduce_max_ps ShimReduceMaxPs
#undef _mm512_reduce_add_epi32
#define _mm512_reduce_add_epi32 ShimReduceAddEpi32
#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
