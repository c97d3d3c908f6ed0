// Up to 128 rows: blocks of two panels and 8 or 32 tokens (expert_few.cuh), whose time goes into
// reading weights. More: tiles of 8 panels (128 weight rows) and 128 tokens.
//
//   warp = 2 panels x 64 tokens: per group of 32 inputs it decodes 1,024 weights in registers (some
//   64 instructions) and spends them on 32 mma; 4 warps side by side share the tokens, 2 the
//   panels. Inputs come in stages of 2 groups, 4 of 20.5 KiB each, x [128 tokens] and the panels'
//   bytes, all by cp.async. The chunks of 16 bytes are permuted so that what eight lanes read at
//   once lies in different banks.
//
// Per stage a tile has 512 mma; one in 1.6 cycles is what mma.sync reaches on an H100 (62 % of the
// dense rate), so 820 cycles. Beside them a scheduler issues 2 warps x 350 instructions, and shared
// memory delivers 72 KiB in 580 cycles.
#include "gpu_attention/cuda/expert_prefill.h"

#include "gpu_attention/cuda/expert_few.cuh"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int32_t kFewRows = 128;
constexpr int kPanelPairs = 4;  // of a tile, one a warp
constexpr int kTokenWarps = 2;
constexpr int kTiles = 8;  // of 8 tokens, of a warp
constexpr int kTokens = kTokenWarps * kTiles * 8;
constexpr int kThreads = 32 * kPanelPairs * kTokenWarps;
constexpr int kGroups = 2;  // of a stage
constexpr int kStages = 4;
constexpr int kRowBytes = kGroups * 64;  // of x in a stage
constexpr int kWordsAt = kTokens * kRowBytes;
constexpr int kScalesAt = kWordsAt + 2 * kPanelPairs * kGroups * 256;
constexpr int kStageBytes = kScalesAt + 2 * kPanelPairs * kGroups * 32;
constexpr int kCopyRows = kThreads / 8;             // of x that the block copies at once
constexpr int kRowsOfThread = kTokens / kCopyRows;  // of x

constexpr uint32_t DivideUp(int64_t a, int64_t b) { return static_cast<uint32_t>((a + b - 1) / b); }

// Where chunk c of 16 bytes of a row of x, or of a group's nibbles, lies.
__device__ __forceinline__ int RowChunk(int row, int c) { return c ^ (row % 2 * 4); }
__device__ __forceinline__ int WordsChunk(int c) { return c ^ (c / 8 * 2); }

// What a thread copies of each stage: chunk thread % 8 of four rows, chunk thread % 16 of group
// thread / 16 % 2 of panel thread / 32, and for thread % 16 < 2 half of that group's scales.
template <class Walk>
class StageLoader {
 public:
  // row_of(i): inputs of row i of the tile, which has `tokens`; behind the last it comes again.
  template <class RowOf>
  __device__ __forceinline__ StageLoader(const Walk& weights, bool has_panel, int32_t n_groups,
                                         int32_t tokens, const RowOf& row_of)
      : weights_(weights), has_panel_(has_panel), left_(n_groups) {
    const int row = threadIdx.x / 8, chunk = threadIdx.x % 8;
    for (int i = 0; i < kRowsOfThread; ++i) {
      rows_[i] = row_of(min(row + i * kCopyRows, tokens - 1)) + chunk * 8;
    }
  }
  __device__ __forceinline__ void Begin(Shared<uint8_t> stage) {
    if (left_ > 0) {
      CopyRows(stage);
      CopyWeights(stage);
      left_ -= kGroups;
    }
    CopyAsyncCommit();
  }

 private:
  __device__ __forceinline__ void CopyRows(Shared<uint8_t> stage) {
    const int row = threadIdx.x / 8, chunk = threadIdx.x % 8;
    const Shared<uint8_t> to = stage + row * kRowBytes + RowChunk(row, chunk) * 16;
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      CopyAsync16(PointerCast<bf16>(to + i * kCopyRows * kRowBytes), rows_[i], chunk / 4 < left_);
      rows_[i] += kGroups * 32;
    }
  }
  __device__ __forceinline__ void CopyWeights(Shared<uint8_t> stage) {
    const int chunk = threadIdx.x % 16, group = threadIdx.x / 16;  // of all panels' groups
    const bool valid = has_panel_ && group % kGroups < left_;
    CopyAsync16(stage + kWordsAt + group * 256 + WordsChunk(chunk) * 16, weights_.words(), valid);
    if (chunk < 2) {
      CopyAsync16(stage + kScalesAt + group * 32 + chunk * 16, weights_.scales(), valid);
    }
    weights_.Advance();
  }

  Walk weights_;
  bool has_panel_;
  int32_t left_;  // groups from the next stage on
  Global<const bf16> rows_[kRowsOfThread];
};

__device__ __forceinline__ void MultiplyStage(Shared<const uint8_t> stage,
                                              float (&sums)[kTiles][2][4]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int panel = warp % kPanelPairs * 2 + lane / 16;
  const int row = warp / kPanelPairs * kTiles * 8 + lane / 4;
  const int chunk = WordsChunk(lane % 4 * 4 + lane / 4 % 4);
#pragma unroll
  for (int u = 0; u < kGroups; ++u) {
    const int group = panel * kGroups + u;
    uint32_t a[2][2][4];
    DecodeGroup(LoadAs<uint4>(stage + kWordsAt + group * 256 + chunk * 16),
                LoadAs<uint2>(stage + kScalesAt + group * 32 + ScalesOfLane(lane)), a);
    const Shared<const uint8_t> x = stage + row * kRowBytes + RowChunk(row, u * 4 + lane % 4) * 16;
    constexpr int kAtOnce = 4;  // tiles: 8 mma between two that add to the same sums
#pragma unroll
    for (int first = 0; first < kTiles; first += kAtOnce) {
      uint4 b[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) b[i] = LoadAs<uint4>(x + (first + i) * 8 * kRowBytes);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          const uint32_t words[2] = {half == 0 ? b[i].x : b[i].z, half == 0 ? b[i].y : b[i].w};
          Mma16816(sums[first + i][0], a[0][half], words);
          Mma16816(sums[first + i][1], a[1][half], words);
        }
      }
    }
  }
}

template <class Loader>
__device__ __forceinline__ void MultiplyTile(Loader& loader, int32_t n_groups,
                                             Shared<uint8_t> shared, float (&sums)[kTiles][2][4]) {
  const int32_t steps = (n_groups + kGroups - 1) / kGroups;
  for (int i = 0; i < kStages - 1; ++i) loader.Begin(shared + i * kStageBytes);
  int use = 0, fill = kStages - 1;
  for (int32_t step = 0; step < steps; ++step) {
    CopyAsyncWait<kStages - 2>();
    __syncthreads();  // the stage is there for all, and all have read the one before
    loader.Begin(shared + fill * kStageBytes);
    MultiplyStage(shared + use * kStageBytes, sums);
    use = use + 1 == kStages ? 0 : use + 1;
    fill = fill + 1 == kStages ? 0 : fill + 1;
  }
}

// Tile (x, y): columns 64 x .. of h, rows 128 y .. of the call.
__global__ void __launch_bounds__(kThreads) GateUpTileKernel(ExpertPrefillArgs args) {
  SharedArena arena;
  const Shared<uint8_t> shared = arena.Take<uint8_t>(kStages * kStageBytes);
  const int32_t first = blockIdx.y * kTokens, tokens = min(args.m - first, kTokens);
  const int32_t n_panels = args.cuts.width / 16, first_panel = blockIdx.x * kPanelPairs;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  const int32_t copied = first_panel + warp / 2;  // gate and up in turn
  const bool has_panel = copied < n_panels;
  StageLoader<GateUpWalk<kGroups>> loader(
      {args.expert, args.cuts, has_panel ? copied : 0, warp % 2, lane / 16, lane % 16 * 16,
       lane % 2 * 16},
      has_panel, args.cuts.hidden / 32, tokens,
      [&](int row) { return args.x + int64_t{args.rows[first + row]} * args.cuts.hidden; });
  float sums[kTiles][2][4] = {};
  MultiplyTile(loader, args.cuts.hidden / 32, shared, sums);

  // A lane of gate has what its partner of up lacks for token 2t, and the other way for 2t + 1.
  const int32_t panel = first_panel + warp % kPanelPairs;
  const bool is_up = lane / 16 == 1;
  for (int tile = 0; tile < kTiles; ++tile) {
    float h[4];
    for (int row = 0; row < 4; ++row) {
      const float* pair = &sums[tile][row / 2][row % 2 * 2];
      const float other = ShuffleXor(is_up ? pair[0] : pair[1], 16);
      h[row] = GatedUnit(is_up ? other : pair[0], is_up ? pair[1] : other);
    }
    const int32_t token = warp / kPanelPairs * kTiles * 8 + tile * 8 + lane % 4 * 2 + is_up;
    if (token >= tokens || panel >= n_panels) continue;
    const int32_t column = panel * 16 + lane / 4 % 4 * 4;  // of h[0]; arranged they go 0, 2, 1, 3
    StoreAs(args.h + int64_t{first + token} * args.cuts.width + ArrangedIndex(column),
            uint2{PackBf16x2(h[0], h[2]), PackBf16x2(h[1], h[3])});
  }
}

// Tile (x, y): outputs 128 x .., rows 128 y .. of the call.
__global__ void __launch_bounds__(kThreads) DownTileKernel(ExpertPrefillArgs args) {
  SharedArena arena;
  const Shared<uint8_t> shared = arena.Take<uint8_t>(kStages * kStageBytes);
  const int32_t first = blockIdx.y * kTokens, tokens = min(args.m - first, kTokens);
  const int32_t n_panels = args.cuts.hidden / 16, first_panel = blockIdx.x * 2 * kPanelPairs;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  const int32_t copied = first_panel + warp;
  const bool has_panel = copied < n_panels;
  StageLoader<DownWalk<kGroups>> loader(
      {args.expert, args.cuts, has_panel ? copied : 0, lane / 16, lane % 16 * 16, lane % 2 * 16},
      has_panel, args.cuts.width / 32, tokens,
      [&](int row) { return args.h + int64_t{first + row} * args.cuts.width; });
  float sums[kTiles][2][4] = {};
  MultiplyTile(loader, args.cuts.width / 32, shared, sums);

  const int32_t panel = first_panel + warp % kPanelPairs * 2 + lane / 16;
  if (panel >= n_panels) return;
  for (int tile = 0; tile < kTiles; ++tile) {
    for (int odd = 0; odd < 2; ++odd) {
      const int32_t token = warp / kPanelPairs * kTiles * 8 + tile * 8 + lane % 4 * 2 + odd;
      if (token >= tokens) continue;
      const float weight = args.weights[first + token];
      const Global<float> out = args.y + int64_t{args.rows[first + token]} * args.cuts.hidden +
                                panel * 16 + lane / 4 % 4 * 4;
      float4 y = LoadAs<float4>(out);
      y.x += weight * sums[tile][0][odd], y.y += weight * sums[tile][0][2 + odd];
      y.z += weight * sums[tile][1][odd], y.w += weight * sums[tile][1][2 + odd];
      StoreAs(out, y);
    }
  }
}

// Block (x, y): panel x of h's columns, the y-th so many rows of the call.
template <int kFewTiles>
__global__ void __launch_bounds__(kFewThreads, 2) GateUpFewKernel(ExpertPrefillArgs args) {
  SharedArena arena;
  constexpr int32_t kMost = FewShape<kFewTiles>::kTokens;
  const int32_t first = blockIdx.y * kMost;
  GateUpFew<kFewTiles>(
      args.expert, args.cuts, blockIdx.x, min(args.m - first, kMost),
      [&](int n) { return args.x + int64_t{args.rows[first + n]} * args.cuts.hidden; },
      [&](int n) { return args.h + int64_t{first + n} * args.cuts.width; },
      arena.Take<uint8_t>(FewShape<kFewTiles>::kSharedBytes));
}

// Block (x, y): outputs 32 x .., the y-th so many rows of the call.
template <int kFewTiles>
__global__ void __launch_bounds__(kFewThreads, 2) DownFewKernel(ExpertPrefillArgs args) {
  SharedArena arena;
  constexpr int32_t kMost = FewShape<kFewTiles>::kTokens;
  const int32_t first = blockIdx.y * kMost;
  DownFew<kFewTiles>(
      args.expert, args.cuts, blockIdx.x, min(args.m - first, kMost),
      [&](int n) { return args.h + int64_t{first + n} * args.cuts.width; },
      [&](int n, int32_t output, float value) {
        args.y[int64_t{args.rows[first + n]} * args.cuts.hidden + output] +=
            args.weights[first + n] * value;
      },
      arena.Take<uint8_t>(FewShape<kFewTiles>::kSharedBytes));
}

template <int kFewTiles>
void LaunchFew(Stream& stream, const ExpertPrefillArgs& args) {
  LaunchShape shape = {.threads = kFewThreads, .shared_bytes = FewShape<kFewTiles>::kSharedBytes};
  shape.blocks_x = args.cuts.width / 16;
  shape.blocks_y = DivideUp(args.m, FewShape<kFewTiles>::kTokens);
  Launch(stream, "expert prefill: gate-up, few rows", GateUpFewKernel<kFewTiles>, shape, args);
  shape.blocks_x = args.cuts.hidden / 32;
  Launch(stream, "expert prefill: down, few rows", DownFewKernel<kFewTiles>, shape, args);
}

void LaunchTiles(Stream& stream, const ExpertPrefillArgs& args) {
  LaunchShape shape = {.threads = kThreads, .shared_bytes = kStages * kStageBytes};
  shape.blocks_x = DivideUp(args.cuts.width, 16 * kPanelPairs);
  shape.blocks_y = DivideUp(args.m, kTokens);
  Launch(stream, "expert prefill: gate-up", GateUpTileKernel, shape, args);
  shape.blocks_x = DivideUp(args.cuts.hidden, 32 * kPanelPairs);
  Launch(stream, "expert prefill: down", DownTileKernel, shape, args);
}

}  // namespace

void ExpertPrefill(Stream& stream, const ExpertPrefillArgs& args) {
  TANDEM_CHECK(args.cuts.hidden % 32 == 0 && args.cuts.width % 32 == 0,
               "an expert that has no layout");
  if (args.m <= 8) {
    LaunchFew<1>(stream, args);
  } else if (args.m <= kFewRows) {
    LaunchFew<4>(stream, args);
  } else {
    LaunchTiles(stream, args);
  }
}

}  // namespace tandem::TANDEM_GPU
