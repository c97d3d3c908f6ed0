// INT8 activations on AMX tiles, group by group, because every group of 32 inputs has its own
// scales. Included only by kernel_amx.cpp and its emulation.
//
//   C = A x B: 16 tokens x 16 rows over one group.  A: the tokens' 32 codes.  B: 8 lines of signed
//   bytes, line i with inputs 4i..4i+3 of row r in dword r: an expanded line of the panel, minus 8.
//
// C is stored, and while the tiles work on the next group, 16 tokens' sums in registers take
// acc = fma(float(C), weight_scale * activation_scale, acc), as the VNNI kernel does: C is the same
// integer, so all bits are the same, and few tokens go to the VNNI kernel.
//
// Per group, panel and 16 tokens (8,192 multiply-adds): TDPBSSD at half depth 16 cycles; 40 tile
// rows and 32 vectors loaded, 16 rows stored; 48 vector operations, 24 cycles on two ports. VNNI
// needs 64 cycles for its dot products alone. Counted, not measured.
#pragma once

#include "cpu_experts/kernel_amx_tiles.h"

// The 16 sums stay in registers only when loops over tokens are unrolled.
#ifdef TANDEM_SIMD_HEADER
#define TANDEM_UNROLL_16
#else
#define TANDEM_UNROLL_16 _Pragma("GCC unroll 16")
#endif

namespace tandem {
namespace {

template <class Tiles, int kPlanes>
struct AmxInt8 {
  using I = __m512i;
  using F = __m512;
  static constexpr int kBlockGroups = 16;
  static constexpr int kLines = kActivationGroup / 4;
  static constexpr int kGroupBytes = kLines * kLineBytes;
  static constexpr int kBlockBytes = kBlockGroups * kGroupBytes;
  static constexpr int kRecord = RecordBytes(kPlanes);
  static constexpr int kGatherBytes = kTileRows * kBlockGroups * kRecord / 64 * 64 + 64;
  static_assert(kBlockBytes + kGatherBytes + 2 * kPlanes * kTileBytes <= kScratchBytes);
  // Below, the VNNI kernel: a tile of a few rows is mostly overhead. An estimate.
  static constexpr int kFromTokens = 9;

  // C: one tile per plane, of even and of odd groups. A: 4 and 5. B: 6.
  static void Configure(int rows) {
    TileConfig config;
    for (int c = 0; c < 4; ++c) config.Set(c, rows, kLineBytes);
    for (int a : {4, 5}) config.Set(a, rows, kActivationGroup);
    config.Set(6, kLines, kLineBytes);
    Tiles::Configure(config);
  }

  static void Decode(const uint8_t* nibbles, int groups, uint8_t* out) {
    const I eight = _mm512_set1_epi8(8);
    for (int g = 0; g < groups; ++g) {
      TANDEM_UNROLL
      for (int i = 0; i < 4; ++i) {
        const I line = Base512::Load(nibbles + i * kLineBytes);
        Base512::Store(out + i * kLineBytes, _mm512_sub_epi8(Base512::LowNibbles(line), eight));
        Base512::Store(out + (4 + i) * kLineBytes,
                       _mm512_sub_epi8(Base512::HighNibbles(line), eight));
      }
      nibbles += kNibbleBytes;
      out += kGroupBytes;
    }
  }

  // The integer products of one group to products[plane][16][16].
  template <int c>
  TANDEM_OP void Multiply(const uint8_t* weights, const uint8_t* record, ptrdiff_t stride,
                          int32_t* products) {
    Tiles::template Load<6>(weights, kLineBytes);
    Tiles::template Load<4>(record + CodesOffset(kPlanes, 0), stride);
    Tiles::template Zero<c>();
    Tiles::template DotInt8<c, 4, 6>();
    if constexpr (kPlanes > 1) {
      Tiles::template Load<5>(record + CodesOffset(kPlanes, 1), stride);
      Tiles::template Zero<c + 1>();
      Tiles::template DotInt8<c + 1, 5, 6>();
      Tiles::template Store<c + 1>(products + kTileBytes / 4, kLineBytes);
    }
    Tiles::template Store<c>(products, kLineBytes);
  }

  TANDEM_OP F AddToken(F acc, F weight_scale, const int32_t* products, const uint8_t* record) {
    I total = Base512::Load(products);
    if constexpr (kPlanes > 1)
      total = Base512::Add(Base512::ShiftPlane(total), Base512::Load(products + kTileBytes / 4));
    return Base512::Fma(Base512::ToFloat(total),
                        Base512::Mul(weight_scale, Base512::BroadcastF(record)), acc);
  }

  struct Groups {
    const uint8_t* weights;
    const uint8_t* scales;
    int count;
    TileRecords x;
    Soon soon;          // asked for by the first tokens
    int32_t* products;  // [2][planes][16][16], of even and of odd groups
  };

  // Calls add(group, products) for every group, one group behind the tiles.
  template <class Add>
  TANDEM_OP void Pipeline(const Groups& at, Add add) {
    int32_t* const even = at.products;
    int32_t* const odd = even + kPlanes * kTileBytes / 4;
    for (int g = 0; g < at.count; g += 2) {
      at.soon.template Prefetch<Base512>(g);
      at.soon.template Prefetch<Base512>(g + 1);
      Multiply<0>(at.weights + g * kGroupBytes, at.x.base + g * kRecord, at.x.stride, even);
      if (g > 0) add(g - 1, odd);
      if (g + 1 < at.count)
        Multiply<2>(at.weights + (g + 1) * kGroupBytes, at.x.base + (g + 1) * kRecord, at.x.stride,
                    odd);
      add(g, even);
    }
    if (at.count % 2 == 0) add(at.count - 1, odd);
  }

  static void FullTile(const Groups& at, float* sums, bool fresh) {
    F acc[kTileRows];
    TANDEM_UNROLL_16
    for (int t = 0; t < kTileRows; ++t)
      acc[t] = fresh ? Base512::Zero() : Base512::LoadF(sums + t * kSumsStride);
    Pipeline(
        at, [&](int g, const int32_t* products) __attribute__((always_inline)) {
          const F weight_scale = Base512::LoadBf16(at.scales + g * kScaleBytes);
          TANDEM_UNROLL_16
          for (int t = 0; t < kTileRows; ++t)
            acc[t] = AddToken(acc[t], weight_scale, products + t * kRowsPerPanel,
                              at.x.base + t * at.x.stride + g * kRecord);
        });
    TANDEM_UNROLL_16
    for (int t = 0; t < kTileRows; ++t) Base512::StoreF(sums + t * kSumsStride, acc[t]);
  }

  // Fewer tokens: the sums stay in memory.
  static void PartTile(const Groups& at, int rows, float* sums, bool fresh) {
    if (fresh)
      for (int t = 0; t < rows; ++t) Base512::StoreF(sums + t * kSumsStride, Base512::Zero());
    Pipeline(
        at, [&](int g, const int32_t* products) __attribute__((always_inline)) {
          const F weight_scale = Base512::LoadBf16(at.scales + g * kScaleBytes);
          for (int t = 0; t < rows; ++t) {
            const uint8_t* record = at.x.base + t * at.x.stride + g * kRecord;
            float* sum = sums + t * kSumsStride;
            Base512::StoreF(sum, AddToken(Base512::LoadF(sum), weight_scale,
                                          products + t * kRowsPerPanel, record));
          }
        });
  }

  static void DotTiles(const DotArgs& args) {
    uint8_t* gather = args.scratch + kBlockBytes;
    auto* products = reinterpret_cast<int32_t*>(gather + kGatherBytes);
    const int end = args.first_group + args.n_groups;
    int configured = 0;
    for (int group = args.first_group; group < end; group += kBlockGroups) {
      const int groups = end - group < kBlockGroups ? end - group : kBlockGroups;
      for (int panel = 0; panel < args.n_panels; ++panel) {
        const uint8_t* source = args.panels + panel * args.panel_bytes;
        Decode(Nibbles(source, group), groups, args.scratch);
        Soon soon = SoonAfter(args, panel, group, groups);
        for (int token = 0; token < args.tokens; token += kTileRows) {
          const int left = args.tokens - token, rows = left < kTileRows ? left : kTileRows;
          if (configured != rows) Configure(rows);
          configured = rows;
          const Groups at = {
              args.scratch, Scales(source, args.groups, group),
              groups,       RecordsOf(args, token, rows, group, groups, kRecord, gather),
              soon,         products};
          soon.nibbles = nullptr;
          float* sums = args.sums + token * kSumsStride + panel * kRowsPerPanel;
          rows == kTileRows ? FullTile(at, sums, group == 0) : PartTile(at, rows, sums, group == 0);
        }
      }
    }
    Tiles::Release();
  }

  static void Dot(const DotArgs& args) {
    args.tokens < kFromTokens ? tandem::Dot<Base512, kPlanes>(args) : DotTiles(args);
  }
};

}  // namespace
}  // namespace tandem
