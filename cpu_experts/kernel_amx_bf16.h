// BF16 activations on AMX tiles. Included only by kernel_amx.cpp and its emulation.
//
//   C0 C1   16 tokens x 16 rows of panels p, p + 1       A0      16 tokens x one group (64 bytes)
//   C2 C3   the next 16 tokens                           A1      the next 16 tokens
//   B0 B1   one group of the two panels: 16 lines of pairs, decoded once per block of 16 groups
//
// 4 TDPBF16PS per 4 tile loads; each is 16 x 16 x 32 multiply-adds in 16 cycles.
//
// Order of operations: per group a chain over the even inputs and one over the odd ones, both from
// zero; their sum is added to C. It is the same for every row of a tile, so a token's bits do not
// depend on the tokens beside it. vdpbf16ps has another order: this table uses tiles for one token,
// too. There decoding costs several times the tile's cycles, so nothing is lost.
#pragma once

#include "cpu_experts/kernel_amx_tiles.h"

namespace tandem {
namespace {

template <class Tiles>
struct AmxBf16 : Bf16Pairs {
  static constexpr int kPanels = 2;
  static constexpr ptrdiff_t kSumsBytesPerToken = kSumsStride * sizeof(float);
  static constexpr int kGatherBytes = kTileRows * kBlockGroups * kBf16RecordBytes;
  static_assert(kPanels * kBlockBytes + 2 * kGatherBytes <= kScratchBytes);

  static void Configure(int rows, int more_rows) {
    TileConfig config;
    for (int c : {0, 1}) config.Set(c, rows, kLineBytes);
    config.Set(4, rows, kBf16RecordBytes);
    if (more_rows > 0) {
      for (int c : {2, 3}) config.Set(c, more_rows, kLineBytes);
      config.Set(5, more_rows, kBf16RecordBytes);
    }
    for (int b : {6, 7}) config.Set(b, kLines, kLineBytes);
    Tiles::Configure(config);
  }

  // C tiles c and c + 1 are `sums` of two panels.
  template <int c>
  TANDEM_OP void LoadSums(const float* sums, bool fresh) {
    if (fresh) {
      Tiles::template Zero<c>();
      Tiles::template Zero<c + 1>();
    } else {
      Tiles::template Load<c>(sums, kSumsBytesPerToken);
      Tiles::template Load<c + 1>(sums + kRowsPerPanel, kSumsBytesPerToken);
    }
  }
  template <int c>
  TANDEM_OP void StoreSums(float* sums) {
    Tiles::template Store<c>(sums, kSumsBytesPerToken);
    Tiles::template Store<c + 1>(sums + kRowsPerPanel, kSumsBytesPerToken);
  }

  // Up to 16 tokens, or 16 and up to 16 `more`.
  template <bool kMore>
  static void Tile(const uint8_t* decoded, int groups, TileRecords x, TileRecords more, float* sums,
                   bool fresh) {
    float* more_sums = sums + kTileRows * kSumsStride;
    LoadSums<0>(sums, fresh);
    if constexpr (kMore) LoadSums<2>(more_sums, fresh);
    for (int g = 0; g < groups; ++g) {
      Tiles::template Load<6>(decoded + g * kGroupBytes, kLineBytes);
      Tiles::template Load<7>(decoded + kBlockBytes + g * kGroupBytes, kLineBytes);
      Tiles::template Load<4>(x.base + g * kBf16RecordBytes, x.stride);
      Tiles::template DotBf16<0, 4, 6>();
      Tiles::template DotBf16<1, 4, 7>();
      if constexpr (kMore) {
        Tiles::template Load<5>(more.base + g * kBf16RecordBytes, more.stride);
        Tiles::template DotBf16<2, 5, 6>();
        Tiles::template DotBf16<3, 5, 7>();
      }
    }
    StoreSums<0>(sums);
    if constexpr (kMore) StoreSums<2>(more_sums);
  }

  static void Dot(const DotArgs& args) {
    uint8_t* gather = args.scratch + kPanels * kBlockBytes;
    const int end = args.first_group + args.n_groups;
    int configured = 0;  // rows of the two token tiles
    for (int group = args.first_group; group < end; group += kBlockGroups) {
      const int groups = end - group < kBlockGroups ? end - group : kBlockGroups;
      for (int panel = 0; panel < args.n_panels; panel += kPanels) {
        for (int p = 0; p < kPanels; ++p) {
          const uint8_t* source = args.panels + (panel + p) * args.panel_bytes;
          Decode(Nibbles(source, group), Scales(source, args.groups, group), groups,
                 args.scratch + p * kBlockBytes, SoonAfter(args, panel + p, group, groups));
        }
        for (int token = 0; token < args.tokens; token += 2 * kTileRows) {
          const int left =
              args.tokens - token < 2 * kTileRows ? args.tokens - token : 2 * kTileRows;
          const int rows = left < kTileRows ? left : kTileRows, more_rows = left - rows;
          if (configured != left) Configure(rows, more_rows);
          configured = left;
          const auto records = [&](int first, int n, uint8_t* to) {
            return RecordsOf(args, first, n, group, groups, kBf16RecordBytes, to);
          };
          const TileRecords x = records(token, rows, gather);
          float* sums = args.sums + token * kSumsStride + panel * kRowsPerPanel;
          if (more_rows > 0) {
            const TileRecords more = records(token + rows, more_rows, gather + kGatherBytes);
            Tile<true>(args.scratch, groups, x, more, sums, group == 0);
          } else {
            Tile<false>(args.scratch, groups, x, x, sums, group == 0);
          }
        }
      }
    }
    Tiles::Release();
  }
};

}  // namespace
}  // namespace tandem
