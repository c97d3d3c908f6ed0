// A block computes two panels of a routed expert for up to 8 kTiles tokens. Few tokens: the time
// goes into reading weights, so all 8 warps of the block share the panels' inputs, each takes pairs
// of groups in turn, and the sums of the warps meet in shared memory.
//
// Each warp has a pipeline of its own: weights and activations of the pair `kStages` - 1 ahead are
// on their way while one is multiplied; a lane copies what it will read itself, except for the
// scales. In flight per block: 8 warps x 3 pairs x 1,152 bytes of weights = 27 KiB with one tile,
// so two blocks cover what 3.35 TB/s x 1 us asks of one of 132 multiprocessors (25 KB).
//
// Shared memory (68 or 82 KiB), per warp and stage:
//   words [2 groups][32 lanes] of 16 bytes, scales [2 groups][2 panels][16], x [2][kTiles][32
//   lanes]
// The order of a sum depends on the shape only: a token's bits do not depend on kTiles or on the
// other tokens.
#pragma once

#include "gpu_attention/cuda/arrange_inputs.h"
#include "gpu_attention/cuda/expert_fragments.cuh"

namespace tandem::TANDEM_GPU {

constexpr int kFewWarps = 8;
constexpr int kFewThreads = 32 * kFewWarps;
constexpr int kFewGroups = 2;                       // of a stage
constexpr int kFewStride = kFewWarps * kFewGroups;  // groups from a warp's stage to its next

template <int kTiles>
struct FewShape {
  static constexpr int kTokens = 8 * kTiles;
  static constexpr int kStages = kTiles == 1 ? 4 : 2;
  static constexpr int kScalesAt = kFewGroups * 512;
  static constexpr int kInputsAt = kScalesAt + kFewGroups * 64;
  static constexpr int kStageBytes = kInputsAt + kFewGroups * kTiles * 512;
  static constexpr int kWarpBytes = kStages * kStageBytes;  // later holds the warp's sums
  static constexpr int kSharedBytes = kFewWarps * kWarpBytes;
  static_assert(kWarpBytes >= kTiles * 256 * static_cast<int>(sizeof(float)));
};

// Where a lane finds its share of the weights of its warp's next two groups, u = 0 and 1. Its
// scales are 16 bytes of group lane % 4 / 2, for the lanes with lane % 16 < 4.
class GateUpCursor {
 public:
  __device__ __forceinline__ GateUpCursor(Global<const uint8_t> expert, const ExpertCuts& cuts,
                                          int32_t panel)
      : walk_(expert, cuts, panel, threadIdx.x % 32 / 16, threadIdx.x / 32 * kFewGroups,
              WordsOfLane(threadIdx.x % 32), threadIdx.x % 4 * 16) {}
  __device__ __forceinline__ Global<const uint8_t> words(int u) const {
    return walk_.words() + u * kGroupBytes;
  }
  __device__ __forceinline__ Global<const uint8_t> scales() const { return walk_.scales(); }
  __device__ __forceinline__ void Advance() { walk_.Advance(); }

 private:
  GateUpWalk<kFewStride> walk_;
};

class DownCursor {  // two groups may lie in two shards
 public:
  __device__ __forceinline__ DownCursor(Global<const uint8_t> expert, const ExpertCuts& cuts,
                                        int32_t panel)
      : first_(expert, cuts, panel, threadIdx.x / 32 * kFewGroups, WordsOfLane(threadIdx.x % 32),
               threadIdx.x % 2 * 16),
        second_(expert, cuts, panel, threadIdx.x / 32 * kFewGroups + 1,
                WordsOfLane(threadIdx.x % 32), threadIdx.x % 2 * 16) {}
  __device__ __forceinline__ Global<const uint8_t> words(int u) const {
    return u == 0 ? first_.words() : second_.words();
  }
  __device__ __forceinline__ Global<const uint8_t> scales() const {
    return threadIdx.x % 4 < 2 ? first_.scales() : second_.scales();
  }
  __device__ __forceinline__ void Advance() { first_.Advance(), second_.Advance(); }

 private:
  DownWalk<kFewStride> first_, second_;
};

// One lane's way through the stages of its warp, in turn.
template <int kTiles>
class StageCursor {
 public:
  __device__ __forceinline__ explicit StageCursor(Shared<uint8_t> stages) : stage_(stages) {}
  __device__ __forceinline__ Shared<uint8_t> stage() const { return stage_; }
  __device__ __forceinline__ void Advance() {
    using Shape = FewShape<kTiles>;
    stage_ += Shape::kStageBytes;
    if (++index_ == Shape::kStages) index_ = 0, stage_ -= Shape::kWarpBytes;
  }

 private:
  Shared<uint8_t> stage_;
  int index_ = 0;
};

// Begins to copy a stage; groups left of the warp's next two: `left`. rows[tile]: arranged inputs
// of the first of them, chunk lane % 4, of token 8 tile + lane / 4.
template <int kTiles, class Cursor>
__device__ __forceinline__ void BeginStage(const Cursor& weights, int32_t left, int32_t tokens,
                                           const Global<const bf16> (&rows)[kTiles],
                                           Shared<uint8_t> stage) {
  using Shape = FewShape<kTiles>;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int u = 0; u < kFewGroups; ++u) {
    CopyAsync16(stage + u * 512 + lane * 16, weights.words(u), u < left);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      if (tile > 0 && tile * 8 >= tokens) break;
      CopyAsync16(
          PointerCast<bf16>(stage + Shape::kInputsAt + (u * kTiles + tile) * 512 + lane * 16),
          rows[tile] + u * 32, u < left && tile * 8 + lane / 4 < tokens);
    }
  }
  if (lane % 16 < 4) {
    CopyAsync16(stage + Shape::kScalesAt + lane / 16 * 64 + lane % 4 * 16, weights.scales(),
                lane % 4 / 2 < left);
  }
}

template <int kTiles>
__device__ __forceinline__ void MultiplyStage(Shared<const uint8_t> stage, int32_t tokens,
                                              float (&sums)[kTiles][2][4]) {
  using Shape = FewShape<kTiles>;
  const int lane = threadIdx.x % 32;
  const Shared<const uint8_t> scales =
      stage + Shape::kScalesAt + lane / 16 * 64 + ScalesOfLane(lane);
#pragma unroll
  for (int u = 0; u < kFewGroups; ++u) {
    uint32_t a[2][2][4];
    DecodeGroup(LoadAs<uint4>(stage + u * 512 + lane * 16), LoadAs<uint2>(scales + u * 32), a);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      if (tile > 0 && tile * 8 >= tokens) break;
      const uint4 x =
          LoadAs<uint4>(stage + Shape::kInputsAt + (u * kTiles + tile) * 512 + lane * 16);
      const uint32_t b[2][2] = {{x.x, x.y}, {x.z, x.w}};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Mma16816(sums[tile][0], a[0][half], b[half]);
        Mma16816(sums[tile][1], a[1][half], b[half]);
      }
    }
  }
}

// Adds this warp's share of W x. rows[tile]: arranged inputs of token 8 tile + lane / 4, or any row
// if there is no such token.
template <int kTiles, class Cursor>
__device__ __forceinline__ void AddFewProducts(Cursor& weights, int32_t n_groups, int32_t tokens,
                                               Global<const bf16> (&rows)[kTiles],
                                               Shared<uint8_t> stages,
                                               float (&sums)[kTiles][2][4]) {
  constexpr int kAhead = FewShape<kTiles>::kStages - 1;
  const int32_t first = static_cast<int32_t>(threadIdx.x) / 32 * kFewGroups;
  int32_t left = n_groups - first;  // groups from the next stage on
  const int32_t steps = left > 0 ? (left + kFewStride - 1) / kFewStride : 0;
  StageCursor<kTiles> fill(stages), use(stages);
  for (auto& row : rows) row += first * 32 + threadIdx.x % 4 * 8;

  auto begin_stage = [&] {
    if (left > 0) {
      BeginStage<kTiles>(weights, left, tokens, rows, fill.stage());
      weights.Advance();
      for (auto& row : rows) row += kFewStride * 32;
      left -= kFewStride;
      fill.Advance();
    }
    CopyAsyncCommit();
  };
  for (int i = 0; i < kAhead; ++i) begin_stage();
  for (int32_t step = 0; step < steps; ++step) {
    CopyAsyncWait<kAhead - 1>();
    __syncwarp();  // all lanes' copies are there, and all have read the stage before
    begin_stage();
    MultiplyStage<kTiles>(use.stage(), tokens, sums);
    use.Advance();
  }
  __syncwarp();
}

// Leaves the warp's sums in its part of the shared memory.
template <int kTiles>
__device__ __forceinline__ void ShareFewSums(Shared<uint8_t> stages,
                                             const float (&sums)[kTiles][2][4]) {
  const Shared<float> partial = PointerCast<float>(stages) + threadIdx.x % 32;
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 8; ++i) partial[(tile * 8 + i) * 32] = sums[tile][i / 4][i % 4];
  }
}

// The block's sum for a row of panel j and a token.
template <int kTiles>
__device__ __forceinline__ float FewSum(Shared<const uint8_t> shared, int j, int row, int token) {
  const int lane = 16 * j + row / 4 * 4 + token % 8 / 2;
  const int value = row % 4 / 2 * 4 + row % 2 * 2 + token % 2;
  const Shared<const float> partial = PointerCast<const float>(shared);
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kFewWarps; ++warp) {
    sum += partial[warp * (FewShape<kTiles>::kWarpBytes / 4) + (token / 8 * 8 + value) * 32 + lane];
  }
  return sum;
}

// The sums of all warps over two panels; call FewSum() after it. All threads of the block.
// row_of(token): its arranged inputs, for token < tokens.
template <int kTiles, class Cursor, class RowOf>
__device__ __forceinline__ void MultiplyFew(Cursor& weights, int32_t n_groups, int32_t tokens,
                                            const RowOf& row_of, Shared<uint8_t> shared) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const Shared<uint8_t> stages = shared + warp * FewShape<kTiles>::kWarpBytes;
  Global<const bf16> rows[kTiles];
  for (int tile = 0; tile < kTiles; ++tile)
    rows[tile] = row_of(min(tile * 8 + lane / 4, tokens - 1));
  float sums[kTiles][2][4] = {};
  __syncthreads();  // sums of an earlier call were read
  AddFewProducts<kTiles>(weights, n_groups, tokens, rows, stages, sums);
  ShareFewSums<kTiles>(stages, sums);
  __syncthreads();
}

// h_row_of(token)[16 panel ..] = bf16(silu(gate x) * (up x)), arranged, for one panel of columns.
template <int kTiles, class XRowOf, class HRowOf>
__device__ __forceinline__ void GateUpFew(Global<const uint8_t> expert, const ExpertCuts& cuts,
                                          int32_t panel, int32_t tokens, const XRowOf& x_row_of,
                                          const HRowOf& h_row_of, Shared<uint8_t> shared) {
  GateUpCursor weights(expert, cuts, panel);
  MultiplyFew<kTiles>(weights, cuts.hidden / 32, tokens, x_row_of, shared);
  for (int i = threadIdx.x; i < tokens * 16; i += kFewThreads) {
    const int token = i / 16, row = i % 16;
    const float gate = FewSum<kTiles>(shared, 0, row, token);
    const float up = FewSum<kTiles>(shared, 1, row, token);
    h_row_of(token)[ArrangedIndex(panel * 16 + row)] = RoundToBf16(GatedUnit(gate, up));
  }
}

// store(token, output, (down h)[output]) for the 32 outputs from 32 * block on.
template <int kTiles, class HRowOf, class Store>
__device__ __forceinline__ void DownFew(Global<const uint8_t> expert, const ExpertCuts& cuts,
                                        int32_t block, int32_t tokens, const HRowOf& h_row_of,
                                        const Store& store, Shared<uint8_t> shared) {
  DownCursor weights(expert, cuts, 2 * block + threadIdx.x % 32 / 16);
  MultiplyFew<kTiles>(weights, cuts.width / 32, tokens, h_row_of, shared);
  for (int i = threadIdx.x; i < tokens * 32; i += kFewThreads) {
    const int token = i / 32, row = i % 32;
    store(token, block * 32 + row, FewSum<kTiles>(shared, row / 16, row % 16, token));
  }
}

}  // namespace tandem::TANDEM_GPU
