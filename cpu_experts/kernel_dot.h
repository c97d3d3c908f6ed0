// The integer dot products, once for all instruction sets. Included only by kernel_<isa>.cpp files,
// each of which passes a struct Isa with its registers and operations; everything here has internal
// linkage.
//
// Per group of 32 inputs and per register of rows:  sum = correction + dot(nibbles, codes)  in
// integers, then  acc = fma(float(sum), weight_scale * activation_scale, acc)  in group order.
//
//   tokens     weights                               panels x tokens per pass
//   1          nibbles, decoded in registers         1 x 1
//   2..T       nibbles, decoded in registers         P x tokens          T = Isa::TileTokens()
//   more       expanded to bytes in L1 by blocks     P x (T or less)     P = Isa::kTilePanels
//
// Bound: memory while tokens are few; with many, the dot instruction's rate times
// 8 / (8 + conversion, multiply, fma).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_experts/kernel_blocks.h"

namespace tandem {
namespace {

constexpr int kLinesExpanded = 8;

// Where a pass over consecutive groups of kPanels adjacent panels reads its weights.
struct WeightCursor {
  const uint8_t* weights;    // nibbles, or expanded lines
  ptrdiff_t weights_stride;  // to the next panel
  const uint8_t* scales;     // BF16 [groups, 16]
  ptrdiff_t panel_bytes;     // to the next panel's scales and prefetches
  const uint8_t* prefetch;   // nibbles needed soon; may be null if these are expanded
  const uint8_t* prefetch_scales;
};

// Adds `groups` groups to sums[t][panel rows]; `fresh` starts them from zero.
template <class Isa, int kPanels, int kTokens, int kPlanes, bool kExpanded>
void DotGroups(WeightCursor at, int groups, const uint8_t* const* x, ptrdiff_t x_offset,
               float* sums, bool fresh) {
  using I = typename Isa::I;
  using F = typename Isa::F;
  constexpr int kVecs = kPanels * Isa::kVecsPerPanel;
  constexpr int kVecBytes = kLineBytes / Isa::kVecsPerPanel;
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;

  const uint8_t* rows[kTokens];
  TANDEM_UNROLL
  for (int t = 0; t < kTokens; ++t) rows[t] = x[t];
  F acc[kVecs][kTokens];
  TANDEM_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    TANDEM_UNROLL
    for (int v = 0; v < kVecs; ++v)
      acc[v][t] = fresh ? Isa::Zero() : Isa::LoadF(sums + t * kSumsStride + v * kLanes);
  }

  for (int g = 0; g < groups; ++g) {
    if (!kExpanded || at.prefetch != nullptr) {
      TANDEM_UNROLL
      for (int p = 0; p < kPanels; ++p) {
        TANDEM_UNROLL
        for (int i = 0; i < 4; ++i)
          Isa::Prefetch(at.prefetch + p * at.panel_bytes + i * kLineBytes);
        Isa::Prefetch(at.prefetch_scales + p * at.panel_bytes);
      }
    }

    // With two planes total starts at zero: the first pass then shifts nothing.
    I total[kVecs][kTokens];
    if constexpr (kPlanes > 1) {
      TANDEM_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        TANDEM_UNROLL
        for (int v = 0; v < kVecs; ++v) total[v][t] = Isa::ZeroSum();
      }
    }
    int planes = kPlanes;
    if constexpr (kPlanes > 1)
      asm("" : "+r"(planes));  // a real loop: unrolled, it spills registers
    for (int plane = 0; plane < planes; ++plane) {
      typename Isa::Sum sum[kVecs][kTokens];
      TANDEM_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        TANDEM_UNROLL
        for (int v = 0; v < kVecs; ++v) {
          if constexpr (Isa::kSumStartsFromTotal) {
            sum[v][t] = Isa::Broadcast(rows[t] + x_offset + CorrectionOffset(plane));
            if constexpr (kPlanes > 1)
              sum[v][t] = Isa::Add(Isa::ShiftPlane(total[v][t]), sum[v][t]);
          } else {
            sum[v][t] = Isa::ZeroSum();
          }
        }
      }
      TANDEM_UNROLL
      for (int line = 0; line < 4; ++line) {
        I low[kVecs], high[kVecs];
        TANDEM_UNROLL
        for (int v = 0; v < kVecs; ++v) {
          const uint8_t* source = at.weights + v / Isa::kVecsPerPanel * at.weights_stride +
                                  v % Isa::kVecsPerPanel * kVecBytes + line * kLineBytes;
          if constexpr (kExpanded) {
            low[v] = Isa::Load(source);
            high[v] = Isa::Load(source + 4 * kLineBytes);
          } else {
            const I bytes = Isa::Load(source);
            low[v] = Isa::LowNibbles(bytes);
            high[v] = Isa::HighNibbles(bytes);
          }
        }
        const ptrdiff_t codes = x_offset + CodesOffset(kPlanes, plane) + 4 * line;
        TANDEM_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          const I a = Isa::Broadcast(rows[t] + codes);
          TANDEM_UNROLL
          for (int v = 0; v < kVecs; ++v) sum[v][t] = Isa::Dot(sum[v][t], low[v], a);
        }
        TANDEM_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          const I a = Isa::Broadcast(rows[t] + codes + 16);
          TANDEM_UNROLL
          for (int v = 0; v < kVecs; ++v) sum[v][t] = Isa::Dot(sum[v][t], high[v], a);
        }
      }
      TANDEM_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        TANDEM_UNROLL
        for (int v = 0; v < kVecs; ++v) {
          if constexpr (Isa::kSumStartsFromTotal) {
            total[v][t] = sum[v][t];
          } else {
            const I correction = Isa::Broadcast(rows[t] + x_offset + CorrectionOffset(plane));
            const I dot = Isa::Add(Isa::Finish(sum[v][t]), correction);
            if constexpr (kPlanes > 1) {
              total[v][t] = Isa::Add(Isa::ShiftPlane(total[v][t]), dot);
            } else {
              total[v][t] = dot;
            }
          }
        }
      }
    }

    F weight_scale[kVecs];
    TANDEM_UNROLL
    for (int v = 0; v < kVecs; ++v)
      weight_scale[v] = Isa::LoadBf16(at.scales + v / Isa::kVecsPerPanel * at.panel_bytes +
                                      v % Isa::kVecsPerPanel * kLanes * 2);
    TANDEM_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const F activation_scale = Isa::BroadcastF(rows[t] + x_offset);
      TANDEM_UNROLL
      for (int v = 0; v < kVecs; ++v)
        acc[v][t] = Isa::Fma(Isa::ToFloat(total[v][t]), Isa::Mul(weight_scale[v], activation_scale),
                             acc[v][t]);
    }
    at.weights += kExpanded ? kLinesExpanded * kLineBytes : kNibbleBytes;
    at.scales += kScaleBytes;
    if (!kExpanded || at.prefetch != nullptr) {
      at.prefetch += kNibbleBytes;
      at.prefetch_scales += kScaleBytes;
    }
    x_offset += RecordBytes(kPlanes);
  }

  TANDEM_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    TANDEM_UNROLL
    for (int v = 0; v < kVecs; ++v) Isa::StoreF(sums + t * kSumsStride + v * kLanes, acc[v][t]);
  }
}

// Blocks expanded to one byte per weight: line i's low nibbles to line i, its high nibbles to line
// 4 + i.
template <class IsaOf, int kPlanes>
struct CodeBlocks {
  using Isa = IsaOf;
  static constexpr int kPanels = Isa::kTilePanels, kTokens = Isa::TileTokens(kPlanes);
  static constexpr int kBlockGroups = 16;
  static constexpr int kRecord = RecordBytes(kPlanes);
  static constexpr int kBlockBytes = kBlockGroups * kLinesExpanded * kLineBytes;

  static void Decode(const uint8_t* nibbles, const uint8_t* /*scales*/, int groups, uint8_t* out,
                     Soon /*soon: the first tile asks for it*/) {
    constexpr int kVecBytes = kLineBytes / Isa::kVecsPerPanel;
    for (int g = 0; g < groups; ++g) {
      TANDEM_UNROLL
      for (int offset = 0; offset < kNibbleBytes; offset += kVecBytes) {
        const typename Isa::I bytes = Isa::Load(nibbles + offset);
        Isa::Store(out + offset, Isa::LowNibbles(bytes));
        Isa::Store(out + kNibbleBytes + offset, Isa::HighNibbles(bytes));
      }
      nibbles += kNibbleBytes;
      out += kLinesExpanded * kLineBytes;
    }
  }

  template <int kTile>
  static void Tile(const Block& block, const uint8_t* const* x, ptrdiff_t x_offset, float* sums,
                   bool fresh) {
    const WeightCursor at = {block.decoded,     kBlockBytes,        block.scales,
                             block.panel_bytes, block.soon.nibbles, block.soon.scales};
    DotGroups<Isa, kPanels, kTile, kPlanes, true>(at, block.groups, x, x_offset, sums, fresh);
  }
};

// All groups of kPanels panels straight from nibbles. Two parts, so that the second can ask for
// what comes after these panels.
template <class Isa, int kPanels, int kTokens, int kPlanes>
void DotNibbles(const DotArgs& args, int panel) {
  const uint8_t* start = args.panels + panel * args.panel_bytes;
  const uint8_t* after = args.next != nullptr ? args.next : args.panels;
  const uint8_t* next =
      panel + kPanels < args.n_panels ? start + kPanels * args.panel_bytes : after;
  const int ahead = args.n_groups < kPrefetchGroups ? args.n_groups : kPrefetchGroups;
  const int body = args.n_groups - ahead, tail = args.first_group + body;
  float* sums = args.sums + panel * kRowsPerPanel;
  auto cursor = [&](int group, const uint8_t* soon, int soon_group) {
    return WeightCursor{
        Nibbles(start, group), args.panel_bytes,          Scales(start, args.groups, group),
        args.panel_bytes,      Nibbles(soon, soon_group), Scales(soon, args.groups, soon_group)};
  };
  const ptrdiff_t x_offset = static_cast<ptrdiff_t>(args.first_group) * RecordBytes(kPlanes);
  DotGroups<Isa, kPanels, kTokens, kPlanes, false>(
      cursor(args.first_group, start, args.first_group + ahead), body, args.x, x_offset, sums,
      args.first_group == 0);
  DotGroups<Isa, kPanels, kTokens, kPlanes, false>(cursor(tail, next, args.first_group), ahead,
                                                   args.x, x_offset + body * RecordBytes(kPlanes),
                                                   sums, false);
}

template <class Isa, int kPanels, int kTokens, int kPlanes>
void DotNibblesOf(const DotArgs& args, int panel) {
  if constexpr (kTokens > 0) {
    if (args.tokens == kTokens) return DotNibbles<Isa, kPanels, kTokens, kPlanes>(args, panel);
    DotNibblesOf<Isa, kPanels, kTokens - 1, kPlanes>(args, panel);
  }
}

template <class Isa, int kPlanes>
void Dot(const DotArgs& args) {
  constexpr int kTile = Isa::TileTokens(kPlanes);
  if (args.tokens == 1) {
    for (int panel = 0; panel < args.n_panels; ++panel) DotNibbles<Isa, 1, 1, kPlanes>(args, panel);
  } else if (args.tokens <= kTile) {
    for (int panel = 0; panel < args.n_panels; panel += Isa::kTilePanels)
      DotNibblesOf<Isa, Isa::kTilePanels, kTile, kPlanes>(args, panel);
  } else {
    DotByBlocks<CodeBlocks<Isa, kPlanes>>(args);
  }
}

}  // namespace
}  // namespace tandem
