// The SIMD kernels, once for all instruction sets. Included only by kernel_<isa>.cpp files, each of
// which passes a struct Isa with its registers and operations; everything here has internal
// linkage.
//
// Per group of 32 inputs and per register of rows:  sum = correction + dot(nibbles, codes)  in
// integers, then  acc = fma(float(sum), weight_scale * activation_scale, acc)  in group order.
//
//   tokens     weights                               panels x tokens per pass
//   1          nibbles, decoded in registers         1 x 1
//   2..T       nibbles, decoded in registers         P x tokens          T = Isa::TileTokens()
//   ..12       nibbles in L1, decoded per tile       P x (T or less)     P = Isa::kTilePanels
//   more       expanded to bytes in L1 by blocks     P x (T or less)
//
// Bound: memory while tokens are few; with many, the dot instruction's rate times
// 8 / (8 + conversion, multiply, fma).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_experts/activation.h"
#include "cpu_experts/kernel_table.h"

// Sums stay in registers only when the loops over tokens, registers and lines are unrolled. Over an
// emulation of the instructions that would only cost compile time.
#ifdef TANDEM_SIMD_HEADER
#define TANDEM_UNROLL
#else
#define TANDEM_UNROLL _Pragma("GCC unroll 8")
#endif

namespace tandem {
namespace {

constexpr int kRowsPerPanel = 16;
constexpr int kNibbleBytes = 256;  // of one group of a panel
constexpr int kScaleBytes = 32;
constexpr int kLineBytes = 64;
constexpr int kLinesExpanded = 8;
constexpr int kSumsStride = 64;   // floats per token: four panels
constexpr int kBlockGroups = 16;  // groups expanded at a time
// From here on writing the expanded bytes costs less than decoding nibbles once per tile.
constexpr int kExpandFromTokens = 13;
constexpr int kPrefetchGroups = 16;  // how far ahead of the nibbles memory is asked for
static_assert(2 * kBlockGroups * kLinesExpanded * kLineBytes == kExpandedBytes);

// Where a pass over consecutive groups of kPanels adjacent panels reads its weights.
struct WeightCursor {
  const uint8_t* weights;    // nibbles, or expanded lines
  ptrdiff_t weights_stride;  // to the next panel
  const uint8_t* scales;     // BF16 [groups, 16]
  ptrdiff_t panel_bytes;     // to the next panel's scales and prefetches
  const uint8_t* prefetch;   // nibbles needed soon
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
    TANDEM_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      TANDEM_UNROLL
      for (int i = 0; i < 4; ++i) Isa::Prefetch(at.prefetch + p * at.panel_bytes + i * kLineBytes);
      Isa::Prefetch(at.prefetch_scales + p * at.panel_bytes);
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
    at.prefetch += kNibbleBytes;
    at.prefetch_scales += kScaleBytes;
    x_offset += RecordBytes(kPlanes);
  }

  TANDEM_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    TANDEM_UNROLL
    for (int v = 0; v < kVecs; ++v) Isa::StoreF(sums + t * kSumsStride + v * kLanes, acc[v][t]);
  }
}

// Nibbles of `groups` groups to one byte per weight: line i's low nibbles to line i, its high
// nibbles to line 4 + i.
template <class Isa>
void ExpandGroups(const uint8_t* nibbles, int groups, uint8_t* out) {
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

// A few adjacent panels and the tokens to multiply them with.
struct PanelJob {
  const uint8_t* panels;
  const uint8_t* next;  // read after these panels
  ptrdiff_t panel_bytes;
  int n_panels;  // even, at most 4
  int groups;
  int tokens;
  const uint8_t* const* x;
  float* sums;        // [tokens][kSumsStride], written
  uint8_t* expanded;  // kExpandedBytes
};

// All groups of kPanels panels straight from nibbles.
template <class Isa, int kPanels, int kTokens, int kPlanes>
void DotNibbles(const PanelJob& job, int panel) {
  const uint8_t* start = job.panels + panel * job.panel_bytes;
  const uint8_t* next =
      panel + kPanels < job.n_panels ? start + kPanels * job.panel_bytes : job.next;
  const ptrdiff_t scale_offset = static_cast<ptrdiff_t>(job.groups) * kNibbleBytes;
  const int ahead = job.groups < kPrefetchGroups ? job.groups : kPrefetchGroups;
  const int body = job.groups - ahead;
  float* sums = job.sums + panel * kRowsPerPanel;
  WeightCursor at = {start,
                     job.panel_bytes,
                     start + scale_offset,
                     job.panel_bytes,
                     start + ahead * kNibbleBytes,
                     start + scale_offset + ahead * kScaleBytes};
  DotGroups<Isa, kPanels, kTokens, kPlanes, false>(at, body, job.x, 0, sums, true);
  at.weights += body * kNibbleBytes;
  at.scales += body * kScaleBytes;
  at.prefetch = next;
  at.prefetch_scales = next + scale_offset;
  DotGroups<Isa, kPanels, kTokens, kPlanes, false>(at, ahead, job.x, body * RecordBytes(kPlanes),
                                                   sums, false);
}

template <class Isa, int kPanels, int kTokens, int kPlanes>
void DotNibblesOf(int tokens, const PanelJob& job, int panel) {
  if constexpr (kTokens > 0) {
    if (tokens == kTokens) return DotNibbles<Isa, kPanels, kTokens, kPlanes>(job, panel);
    DotNibblesOf<Isa, kPanels, kTokens - 1, kPlanes>(tokens, job, panel);
  }
}

template <class Isa, int kTokens, int kPlanes, bool kExpanded>
void DotTile(int tokens, const WeightCursor& at, int groups, const uint8_t* const* x,
             ptrdiff_t x_offset, float* sums, bool fresh) {
  if constexpr (kTokens > 0) {
    if (tokens == kTokens)
      return DotGroups<Isa, Isa::kTilePanels, kTokens, kPlanes, kExpanded>(at, groups, x, x_offset,
                                                                           sums, fresh);
    DotTile<Isa, kTokens - 1, kPlanes, kExpanded>(tokens, at, groups, x, x_offset, sums, fresh);
  }
}

// All groups of kTilePanels panels for many tokens: block by block of groups, which stays in L1
// while all tokens, in tiles of nearly equal size, are multiplied with it.
template <class Isa, int kPlanes, bool kExpanded>
void DotTiles(const PanelJob& job, int panel) {
  constexpr int kTile = Isa::TileTokens(kPlanes);
  constexpr ptrdiff_t kExpandedStride = kBlockGroups * kLinesExpanded * kLineBytes;
  const uint8_t* start = job.panels + panel * job.panel_bytes;
  const ptrdiff_t scale_offset = static_cast<ptrdiff_t>(job.groups) * kNibbleBytes;
  const int tiles = (job.tokens + kTile - 1) / kTile;
  for (int block = 0; block < job.groups; block += kBlockGroups) {
    const int groups = job.groups - block < kBlockGroups ? job.groups - block : kBlockGroups;
    const uint8_t* nibbles = start + block * kNibbleBytes;
    const uint8_t* scales = start + scale_offset + block * kScaleBytes;
    // The first tile asks for the next block; for the others that is a hit.
    const bool last = block + groups == job.groups;
    WeightCursor at = {nibbles,
                       job.panel_bytes,
                       scales,
                       job.panel_bytes,
                       last ? nibbles : nibbles + groups * kNibbleBytes,
                       last ? scales : scales + groups * kScaleBytes};
    if constexpr (kExpanded) {
      for (int p = 0; p < Isa::kTilePanels; ++p)
        ExpandGroups<Isa>(nibbles + p * job.panel_bytes, groups,
                          job.expanded + p * kExpandedStride);
      at.weights = job.expanded;
      at.weights_stride = kExpandedStride;
    }
    for (int tile = 0; tile < tiles; ++tile) {
      const int begin = job.tokens * tile / tiles, end = job.tokens * (tile + 1) / tiles;
      DotTile<Isa, kTile, kPlanes, kExpanded>(
          end - begin, at, groups, job.x + begin,
          static_cast<ptrdiff_t>(block) * RecordBytes(kPlanes),
          job.sums + begin * kSumsStride + panel * kRowsPerPanel, block == 0);
    }
  }
}

// sums[t][16 * panel + row] = row . x[t]
template <class Isa, int kPlanes>
void DotPanels(const PanelJob& job) {
  constexpr int kTile = Isa::TileTokens(kPlanes);
  if (job.tokens == 1) {
    for (int panel = 0; panel < job.n_panels; ++panel) DotNibbles<Isa, 1, 1, kPlanes>(job, panel);
    return;
  }
  for (int panel = 0; panel < job.n_panels; panel += Isa::kTilePanels) {
    if (job.tokens <= kTile) {
      DotNibblesOf<Isa, Isa::kTilePanels, kTile, kPlanes>(job.tokens, job, panel);
    } else if (job.tokens < kExpandFromTokens) {
      DotTiles<Isa, kPlanes, false>(job, panel);
    } else {
      DotTiles<Isa, kPlanes, true>(job, panel);
    }
  }
}

// e^x for x in [-87, 87] by range reduction x = n ln 2 + r and a polynomial in r (Cephes' degree
// and constants); relative error about 1e-7.
template <class Isa>
typename Isa::F Exp(typename Isa::F x) {
  using F = typename Isa::F;
  x = Isa::Min(Isa::Max(x, Isa::Set(-87.0f)), Isa::Set(87.0f));
  const F n = Isa::Round(Isa::Mul(x, Isa::Set(1.44269504f)));
  F r = Isa::Fma(n, Isa::Set(-0.693359375f), x);
  r = Isa::Fma(n, Isa::Set(2.12194440e-4f), r);
  F p = Isa::Set(1.9875691500e-4f);
  p = Isa::Fma(p, r, Isa::Set(1.3981999507e-3f));
  p = Isa::Fma(p, r, Isa::Set(8.3334519073e-3f));
  p = Isa::Fma(p, r, Isa::Set(4.1665795894e-2f));
  p = Isa::Fma(p, r, Isa::Set(1.6666665459e-1f));
  p = Isa::Fma(p, r, Isa::Set(5.0000001201e-1f));
  p = Isa::Fma(p, Isa::Mul(r, r), r);
  p = Isa::AddF(p, Isa::Set(1.0f));
  return Isa::ScaleByPowerOfTwo(p, n);
}

// Quantises 32 floats into one record; see activation.h.
template <class Isa, int kPlanes>
void QuantizeGroup(const float* values, uint8_t* record) {
  using F = typename Isa::F;
  using I = typename Isa::I;
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  constexpr int kParts = kActivationGroup / kLanes;
  F part[kParts];
  F largest = Isa::Zero();
  for (int i = 0; i < kParts; ++i) {
    part[i] = Isa::LoadF(values + i * kLanes);
    largest = Isa::Max(largest, Isa::Abs(part[i]));
  }
  const float max = Isa::ReduceMax(largest);
  constexpr float kLimit = kLargestCode[kPlanes - 1];
  const bool zero = max < kSmallestActivation;
  const float scale = zero ? 0.0f : max / kLimit;
  const F inverse = Isa::Set(zero ? 0.0f : kLimit / max);
  __builtin_memcpy(record, &scale, sizeof(scale));

  int32_t sums[kMaxPlanes] = {};
  for (int i = 0; i < kParts; ++i) {
    const I code = Isa::ToInt(Isa::Mul(part[i], inverse));
    int8_t* out = reinterpret_cast<int8_t*>(record) + i * kLanes;
    if constexpr (kPlanes == 1) {
      Isa::StoreInt8(out + CodesOffset(1, 0), code);
      sums[0] += Isa::ReduceAdd(code);
    } else {
      const I high = Isa::HighPlane(code);  // (code + 64) >> 7
      const I low = Isa::Sub(code, Isa::ShiftPlane(high));
      Isa::StoreInt8(out + CodesOffset(2, 0), high);
      Isa::StoreInt8(out + CodesOffset(2, 1), low);
      sums[0] += Isa::ReduceAdd(high);
      sums[1] += Isa::ReduceAdd(low);
    }
  }
  for (int p = 0; p < kPlanes; ++p) {
    const int32_t correction = -8 * sums[p];
    __builtin_memcpy(record + CorrectionOffset(p), &correction, sizeof(correction));
  }
}

template <class Isa, int kPlanes>
void QuantizeRow(const bf16* x, int32_t groups, uint8_t* records) {
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  alignas(64) float values[kActivationGroup];
  for (int g = 0; g < groups; ++g) {
    for (int i = 0; i < kActivationGroup; i += kLanes)
      Isa::StoreF(values + i, Isa::LoadBf16(x + g * kActivationGroup + i));
    QuantizeGroup<Isa, kPlanes>(values, records + g * RecordBytes(kPlanes));
  }
}

// One token's sums of four panels (gate, up, gate, up) to one record of h.
template <class Isa, int kPlanes>
void SiluMulQuantize(const float* sums, uint8_t* record) {
  using F = typename Isa::F;
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  alignas(64) float values[kColumnGroup];
  for (int i = 0; i < kColumnGroup; i += kLanes) {
    const float* gate = sums + i / kRowsPerPanel * 2 * kRowsPerPanel + i % kRowsPerPanel;
    const F g = Isa::LoadF(gate), u = Isa::LoadF(gate + kRowsPerPanel);
    const F negated = Isa::Mul(g, Isa::Set(-1.0f));
    const F silu = Isa::Div(g, Isa::AddF(Isa::Set(1.0f), Exp<Isa>(negated)));
    Isa::StoreF(values + i, Isa::Mul(silu, u));
  }
  QuantizeGroup<Isa, kPlanes>(values, record);
}

template <class Isa, int kPlanes>
void GateUpImpl(const GateUpArgs& args) {
  auto* sums = reinterpret_cast<float*>(args.scratch + kExpandedBytes);
  for (int c = 0; c < args.column_groups; ++c) {
    const uint8_t* panels = args.panels + 4 * c * args.panel_bytes;
    const uint8_t* next = c + 1 < args.column_groups ? panels + 4 * args.panel_bytes : panels;
    DotPanels<Isa, kPlanes>(
        {panels, next, args.panel_bytes, 4, args.groups, args.tokens, args.x, sums, args.scratch});
    const ptrdiff_t offset = (args.first_group + c) * RecordBytes(kPlanes);
    for (int t = 0; t < args.tokens; ++t)
      SiluMulQuantize<Isa, kPlanes>(sums + t * kSumsStride, args.h[t] + offset);
  }
}

template <class Isa, int kPlanes>
void DownImpl(const DownArgs& args) {
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  auto* sums = reinterpret_cast<float*>(args.scratch + kExpandedBytes);
  for (int first = 0; first < args.n_panels; first += 4) {
    const int n = args.n_panels - first < 4 ? args.n_panels - first : 4;
    const uint8_t* panels = args.panels + first * args.panel_bytes;
    const uint8_t* after = panels + n * args.panel_bytes;
    const uint8_t* next =
        first + n < args.n_panels ? after : (args.next != nullptr ? args.next : panels);
    DotPanels<Isa, kPlanes>(
        {panels, next, args.panel_bytes, n, args.groups, args.tokens, args.h, sums, args.scratch});
    for (int t = 0; t < args.tokens; ++t) {
      float* y = args.y[t] + (args.first_panel + first) * kRowsPerPanel;
      const typename Isa::F weight = Isa::Set(args.weights[t]);
      for (int i = 0; i < n * kRowsPerPanel; i += kLanes) {
        const typename Isa::F sum = Isa::LoadF(sums + t * kSumsStride + i);
        Isa::StoreF(y + i, Isa::Fma(weight, sum, Isa::LoadF(y + i)));
      }
    }
  }
}

template <class Isa>
void Quantize(const bf16* x, int32_t groups, int32_t planes, uint8_t* records) {
  planes == 1 ? QuantizeRow<Isa, 1>(x, groups, records) : QuantizeRow<Isa, 2>(x, groups, records);
}
template <class Isa>
void GateUp(const GateUpArgs& args) {
  args.planes == 1 ? GateUpImpl<Isa, 1>(args) : GateUpImpl<Isa, 2>(args);
}
template <class Isa>
void Down(const DownArgs& args) {
  args.planes == 1 ? DownImpl<Isa, 1>(args) : DownImpl<Isa, 2>(args);
}

}  // namespace
}  // namespace tandem
