// Linear layers over panels of 32 rows. Part of kernels_simd.h.
//
// A tile is up to kMaxTokens tokens by 32 rows (or half of them) in registers; weights are widened
// on the way in and used for all tokens of the tile, so a few tokens read them once from memory.
// With more tokens than a tile, a block of kBlockCols inputs of the panel stays in the first-level
// cache while all tokens pass over it; between blocks the sums wait in y, which changes no bit.
// Traffic for few tokens: 64 bytes of BF16 weights, or 32 of INT8, per 32 multiply-adds and token.
#pragma once

#include "gpu_attention/host/dense_kernels.h"

namespace tandem {
namespace {

constexpr int kPanelVectors = kDensePanelRows / kLanes;

// The part of a linear layer that one call of a tile computes.
struct TileArgs {
  const std::byte* weights;  // the panel, at first_col
  int32_t first_col, n_cols;
  int32_t first_token;
  int32_t first_vector;  // 0, or kPanelVectors / 2 for the lower half of a panel
  float* y;              // [tokens, 32], at the panel's first row
};

template <int kTokens, int kVectors>
TANDEM_INLINE void AddProducts(VecF (&sum)[kTokens][kVectors], const VecF (&weights)[kVectors],
                               const float* x, int64_t x_stride) {
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    const VecF value = Set1(x[t * x_stride]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[t][v] = Fma(weights[v], value, sum[t][v]);
  }
}

// Multiply-adds of F32 activations with weights that W widens to F32.
template <class W>
struct FloatTile {
  static constexpr int kBlockCols = W::kBlockCols;
  static constexpr int64_t BytesOf(int32_t cols) {
    return W::kBytes * int64_t{cols} * kDensePanelRows;
  }

  template <int kTokens, int kVectors>
  TANDEM_INLINE static void Run(const LinearArgs& a, const TileArgs& tile) {
    VecF sum[kTokens][kVectors];
    const float* x = a.x + tile.first_token * a.x_stride + tile.first_col;
    float* y = tile.y + tile.first_token * a.y_stride + tile.first_vector * kLanes;
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sum[t][v] = tile.first_col == 0 ? ZeroF() : Load(y + t * a.y_stride + v * kLanes);

    const std::byte* w = tile.weights + tile.first_vector * W::kVectorBytes;
    for (int32_t k = 0; k < tile.n_cols; k += 2, w += W::kPairBytes) {
      if constexpr (kTokens <= 2) {
        for (int line = 0; line < W::kPairBytes; line += 64) Prefetch(w + 2048 + line);
      }
      VecF weights[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) weights[v] = W::First(w, v);
      AddProducts<kTokens, kVectors>(sum, weights, x + k, a.x_stride);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) weights[v] = W::Second(w, v);
      AddProducts<kTokens, kVectors>(sum, weights, x + k + 1, a.x_stride);
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) Store(y + t * a.y_stride + v * kLanes, sum[t][v]);
  }
};

// Pairs: a 32-bit lane holds two consecutive inputs of its row.
struct Bf16Weights {
  static constexpr int kBlockCols = 256;
  static constexpr int kBytes = 2, kVectorBytes = kLanes * 4, kPairBytes = kDensePanelRows * 4;
  TANDEM_INLINE static VecF First(const std::byte* w, int v) {
    return FirstOfPairs(LoadPairs(w + v * kVectorBytes));
  }
  TANDEM_INLINE static VecF Second(const std::byte* w, int v) {
    return SecondOfPairs(LoadPairs(w + v * kVectorBytes));
  }
};

// Not in pairs: one line of 32 rows per input.
struct F32Weights {
  static constexpr int kBlockCols = 128;
  static constexpr int kBytes = 4, kVectorBytes = kLanes * 4, kPairBytes = kDensePanelRows * 8;
  TANDEM_INLINE static VecF First(const std::byte* w, int v) {
    return Load(reinterpret_cast<const float*>(w) + v * kLanes);
  }
  TANDEM_INLINE static VecF Second(const std::byte* w, int v) {
    return Load(reinterpret_cast<const float*>(w) + kDensePanelRows + v * kLanes);
  }
};

using Bf16Tile = FloatTile<Bf16Weights>;
using F32Tile = FloatTile<F32Weights>;

// Exact integer dot products of INT8 weights with INT16 activations within a group, then
//   sum = fma(dot, weight scale * activation scale, sum), group after group.
struct Int8Tile {
  static constexpr int kBlockCols = 512;
  static constexpr int64_t BytesOf(int32_t cols) { return cols / kScaleGroup * kInt8GroupBytes; }

  template <int kTokens, int kVectors>
  TANDEM_INLINE static void Run(const LinearArgs& a, const TileArgs& tile) {
    constexpr int kLine = kDensePanelRows * 2;  // bytes of two inputs of 32 rows
    const std::byte* group = tile.weights;
    const int32_t end = tile.first_col + tile.n_cols;
    for (int32_t col = tile.first_col; col < end; col += kScaleGroup, group += kInt8GroupBytes) {
      VecSum dot[kTokens][kVectors];
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) dot[t][v] = ZeroSum();
      const int16_t* x = a.xq + tile.first_token * a.xq_stride + col;
      const std::byte* w = group + kLine + tile.first_vector * kLanes * 2;
      for (int32_t k = 0; k < kScaleGroup; k += 2, w += kLine) {
        if constexpr (kTokens <= 2) Prefetch(w + 2048);
        VecI weights[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) weights[v] = LoadInt8Pairs(w + v * kLanes * 2);
#pragma GCC unroll 16
        for (int t = 0; t < kTokens; ++t) {
          const VecI pair = BroadcastPair(x + t * a.xq_stride + k);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) DotPairs(dot[t][v], weights[v], pair);
        }
      }
      Fold<kTokens, kVectors>(a, tile, group, col, dot);
    }
  }

  template <int kTokens, int kVectors>
  TANDEM_INLINE static void Fold(const LinearArgs& a, const TileArgs& tile, const std::byte* group,
                                 int32_t col, const VecSum (&dot)[kTokens][kVectors]) {
    const float* scales = a.xq_scales + tile.first_token * a.xq_scales_stride + col / kScaleGroup;
    float* y = tile.y + tile.first_token * a.y_stride + tile.first_vector * kLanes;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const VecF weight_scale = LoadBf16(group + (tile.first_vector + v) * kLanes * 2);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        float* out = y + t * a.y_stride + v * kLanes;
        const VecF scale = Mul(weight_scale, Set1(scales[t * a.xq_scales_stride]));
        Store(out, Fma(ToFloats(dot[t][v]), scale, col == 0 ? ZeroF() : Load(out)));
      }
    }
  }
};

template <class Tile, int kTokens>
void RunTile(const LinearArgs& a, TileArgs tile) {
  if constexpr (kTokens <= kMaxTokensFullPanel) {
    Tile::template Run<kTokens, kPanelVectors>(a, tile);
  } else {
    Tile::template Run<kTokens, kPanelVectors / 2>(a, tile);
    tile.first_vector = kPanelVectors / 2;
    Tile::template Run<kTokens, kPanelVectors / 2>(a, tile);
  }
}

// RunTile for a number of tokens known at run time, in [1, kTokens].
template <class Tile, int kTokens = kMaxTokens>
void RunTileOf(int32_t tokens, const LinearArgs& a, const TileArgs& tile) {
  if constexpr (kTokens > 1) {
    if (tokens < kTokens) return RunTileOf<Tile, kTokens - 1>(tokens, a, tile);
  }
  RunTile<Tile, kTokens>(a, tile);
}

template <class Tile>
void LinearPanels(const LinearArgs& a) {
  const int32_t block = a.tokens <= kMaxTokens ? a.cols : Tile::kBlockCols;
  for (int32_t panel = 0; panel < a.n_panels; ++panel) {
    const std::byte* weights = a.panels + panel * a.panel_bytes;
    for (int32_t col = 0; col < a.cols; col += block) {
      TileArgs tile = {.weights = weights + Tile::BytesOf(col),
                       .first_col = col,
                       .n_cols = block < a.cols - col ? block : a.cols - col,
                       .first_token = 0,
                       .first_vector = 0,
                       .y = a.y + panel * kDensePanelRows};
      for (; tile.first_token < a.tokens; tile.first_token += kMaxTokens) {
        const int32_t left = a.tokens - tile.first_token;
        RunTileOf<Tile>(left < kMaxTokens ? left : kMaxTokens, a, tile);
      }
    }
  }
}

}  // namespace
}  // namespace tandem
