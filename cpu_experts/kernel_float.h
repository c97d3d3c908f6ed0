// BF16 activations by F32 FMAs: for instruction sets without BF16 dot products, so that every
// machine can compute this mode. Included only by kernel_<isa>.cpp files.
//
// A block's weights become floats that are BF16 numbers: (nibble - 8) * scale, rounded. One chain
// of FMAs per row and token, inputs in ascending order, for any number of tokens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_experts/kernel_blocks.h"

namespace tandem {
namespace {

template <class IsaOf>
struct FloatBlocks {
  using Isa = IsaOf;
  using F = typename Isa::F;
  static constexpr int kPanels = 1, kTokens = Isa::kFloatTokens, kBlockGroups = 8;
  static constexpr int kRecord = kBf16RecordBytes;
  static constexpr int kInputBytes = kRowsPerPanel * sizeof(float);  // of one input of a panel
  static constexpr int kBlockBytes = kBlockGroups * kActivationGroup * kInputBytes;
  static constexpr int kVecs = Isa::kVecsPerPanel;
  static constexpr int kLanes = kRowsPerPanel / kVecs;

  // value * scale - 8 * scale is exact in F32 (12 bits), so only RoundBf16 rounds.
  template <int n>
  static void DecodeNibble(typename Isa::I line, F scale, F offset, int input, float* out) {
    Isa::StoreF(out + input * kRowsPerPanel,
                Isa::RoundBf16(Isa::Fma(Isa::template NibbleF<n>(line), scale, offset)));
  }

  static void Decode(const uint8_t* nibbles, const uint8_t* scales, int groups, uint8_t* decoded,
                     Soon soon) {
    auto* out = reinterpret_cast<float*>(decoded);
    for (int g = 0; g < groups; ++g) {
      soon.template Prefetch<Isa>(g);
      for (int v = 0; v < kVecs; ++v) {
        const F scale = Isa::LoadBf16(scales + 2 * v * kLanes);
        const F offset = Isa::Mul(scale, Isa::Set(-8.0f));
        for (int i = 0; i < 4; ++i) {
          const auto line = Isa::Load(nibbles + i * kLineBytes + 4 * v * kLanes);
          float* to = out + v * kLanes;
          DecodeNibble<0>(line, scale, offset, 4 * i, to);
          DecodeNibble<2>(line, scale, offset, 4 * i + 1, to);
          DecodeNibble<4>(line, scale, offset, 4 * i + 2, to);
          DecodeNibble<6>(line, scale, offset, 4 * i + 3, to);
          DecodeNibble<1>(line, scale, offset, 16 + 4 * i, to);
          DecodeNibble<3>(line, scale, offset, 16 + 4 * i + 1, to);
          DecodeNibble<5>(line, scale, offset, 16 + 4 * i + 2, to);
          DecodeNibble<7>(line, scale, offset, 16 + 4 * i + 3, to);
        }
      }
      nibbles += kNibbleBytes;
      scales += kScaleBytes;
      out += kActivationGroup * kRowsPerPanel;
    }
  }

  template <int kTile>
  static void Tile(const Block& block, const uint8_t* const* x, ptrdiff_t x_offset, float* sums,
                   bool fresh) {
    const uint8_t* rows[kTile];
    F acc[kTile][kVecs];
    TANDEM_UNROLL
    for (int t = 0; t < kTile; ++t) {
      rows[t] = x[t] + x_offset;
      TANDEM_UNROLL
      for (int v = 0; v < kVecs; ++v)
        acc[t][v] = fresh ? Isa::Zero() : Isa::LoadF(sums + t * kSumsStride + v * kLanes);
    }
    const auto* weights = reinterpret_cast<const float*>(block.decoded);
    for (int pair = 0; pair < block.groups * kActivationGroup / 2; ++pair) {
      F low[kVecs], high[kVecs];
      TANDEM_UNROLL
      for (int v = 0; v < kVecs; ++v) {
        low[v] = Isa::LoadF(weights + v * kLanes);
        high[v] = Isa::LoadF(weights + kRowsPerPanel + v * kLanes);
      }
      TANDEM_UNROLL
      for (int t = 0; t < kTile; ++t) {
        const auto two = Isa::Broadcast(rows[t] + 4 * pair);
        const F first = Isa::LowBf16(two), second = Isa::HighBf16(two);
        TANDEM_UNROLL
        for (int v = 0; v < kVecs; ++v)
          acc[t][v] = Isa::Fma(high[v], second, Isa::Fma(low[v], first, acc[t][v]));
      }
      weights += 2 * kRowsPerPanel;
    }
    TANDEM_UNROLL
    for (int t = 0; t < kTile; ++t) {
      TANDEM_UNROLL
      for (int v = 0; v < kVecs; ++v) Isa::StoreF(sums + t * kSumsStride + v * kLanes, acc[t][v]);
    }
  }
};

}  // namespace
}  // namespace tandem
