// BF16 weights in the form of vdpbf16ps and of AMX B tiles: per group of a panel 16 lines, line k
// with inputs 2k and 2k + 1 of row r in dword r. And dot products over them by vdpbf16ps. Included
// only by kernel_<isa>.cpp files.
//
// vdpbf16ps adds input 2k + 1, then 2k to its F32 sum, each by an FMA that takes denormals for
// zero. One chain per row and token, for any number of tokens.
#pragma once

#include "cpu_experts/kernel_512.h"

namespace tandem {
namespace {

struct Bf16Pairs {
  using I = __m512i;
  using F = __m512;
  static constexpr int kBlockGroups = 16;
  static constexpr int kLines = kActivationGroup / 2;
  static constexpr int kGroupBytes = kLines * kLineBytes;
  static constexpr int kBlockBytes = kBlockGroups * kGroupBytes;

  // Nibble n of every dword, minus 8, times its row's scale: exact. vpermps looks at four bits.
  template <int n>
  TANDEM_OP F Product(I line, F scale) {
    const F values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(line, 4 * n), values), scale);
  }
  // Two inputs rounded to BF16, the first in the low half of every dword.
  TANDEM_OP I Interleave(F first, F second) {
    alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                        21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                        11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const I both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), both);
  }

  static void Decode(const uint8_t* nibbles, const uint8_t* scales, int groups, uint8_t* out,
                     Soon soon) {
    for (int g = 0; g < groups; ++g) {
      soon.Prefetch<Base512>(g);
      const F scale = Base512::LoadBf16(scales);
      TANDEM_UNROLL
      for (int i = 0; i < 4; ++i) {  // line i: inputs 4i + t and 16 + 4i + t
        const I line = Base512::Load(nibbles + i * kLineBytes);
        uint8_t* low = out + 2 * i * kLineBytes;
        uint8_t* high = low + 8 * kLineBytes;
        Base512::Store(low, Interleave(Product<0>(line, scale), Product<2>(line, scale)));
        Base512::Store(low + kLineBytes,
                       Interleave(Product<4>(line, scale), Product<6>(line, scale)));
        Base512::Store(high, Interleave(Product<1>(line, scale), Product<3>(line, scale)));
        Base512::Store(high + kLineBytes,
                       Interleave(Product<5>(line, scale), Product<7>(line, scale)));
      }
      nibbles += kNibbleBytes;
      scales += kScaleBytes;
      out += kGroupBytes;
    }
  }
};

// 2 panels x 6 tokens: 12 chains, twice what latency 6 at one vdpbf16ps per cycle needs.
struct DpBf16Blocks : Bf16Pairs {
  using Isa = Base512;
  static constexpr int kPanels = 2, kTokens = 6;
  static constexpr int kRecord = kBf16RecordBytes;

  template <int kTile>
  static void Tile(const Block& block, const uint8_t* const* x, ptrdiff_t x_offset, float* sums,
                   bool fresh) {
    const uint8_t* rows[kTile];
    F acc[kTile][kPanels];
    TANDEM_UNROLL
    for (int t = 0; t < kTile; ++t) {
      rows[t] = x[t] + x_offset;
      TANDEM_UNROLL
      for (int p = 0; p < kPanels; ++p)
        acc[t][p] = fresh ? Isa::Zero() : Isa::LoadF(sums + t * kSumsStride + p * kRowsPerPanel);
    }
    const uint8_t* weights = block.decoded;
    for (int line = 0; line < block.groups * kLines; ++line) {
      I w[kPanels];
      TANDEM_UNROLL
      for (int p = 0; p < kPanels; ++p) w[p] = Isa::Load(weights + p * kBlockBytes);
      TANDEM_UNROLL
      for (int t = 0; t < kTile; ++t) {
        const I two = Isa::Broadcast(rows[t] + 4 * line);
        TANDEM_UNROLL
        for (int p = 0; p < kPanels; ++p)
          acc[t][p] = _mm512_dpbf16_ps(acc[t][p], (__m512bh)w[p], (__m512bh)two);
      }
      weights += kLineBytes;
    }
    TANDEM_UNROLL
    for (int t = 0; t < kTile; ++t) {
      TANDEM_UNROLL
      for (int p = 0; p < kPanels; ++p)
        Isa::StoreF(sums + t * kSumsStride + p * kRowsPerPanel, acc[t][p]);
    }
  }
};

}  // namespace
}  // namespace tandem
