// How a warp takes the weights of a routed expert out of their panels (core/panel16g32.h).
//
// A warp works on two panels at once, j = 0 and 1: gate and up of the same columns, or neighbours
// of down. Lane 16 j + 4 q + t takes, of each group of 32 inputs, 16 consecutive bytes of panel j:
// the inputs 4t..4t+3 and 16+4t..16+4t+3 of the rows 4q..4q+3, one row a word. A warp's load is
// thus 2 x 256 whole bytes, and what a lane has is what the A fragments of four mma want of it:
//
//   mma (s, half), s = 0, 1: row g = 4j + q stands for row 4q + 2s of panel j, row g + 8 for row
//   4q + 2s + 1; half 0 takes the low nibbles, half 1 the high ones, and the inputs come in the
//   order of arrange_inputs.h, in which B has them, too.
//
// D of lane 16 j + 4 q + t, after both halves:
//   d[s][0], d[s][1]: row 4q + 2s of panel j, tokens 2t and 2t + 1;  d[s][2], d[s][3]: row 4q + 2s
//   + 1
#pragma once

#include "gpu_attention/cuda/expert_weights.h"
#include "gpu_attention/cuda/mma.cuh"

namespace tandem::TANDEM_GPU {

// Bytes of one lane's share of a group, from its panel's nibbles on, and of its rows' scales.
__device__ __forceinline__ int WordsOfLane(int lane) { return lane % 4 * 64 + lane / 4 % 4 * 16; }
__device__ __forceinline__ int ScalesOfLane(int lane) { return lane / 4 % 4 * 8; }

// bf16((nibble - 8) * scale) of the nibbles in bits 0..3 and 16..19. 0x4300 + n is the bf16 128 +
// n, so 136 less is n - 8 exactly.
__device__ __forceinline__ uint32_t DecodePair(uint32_t nibbles, uint32_t scale_twice) {
  return MulBf16x2(AddBf16x2((nibbles & 0x000f000fu) | 0x43004300u, 0xc308c308u), scale_twice);
}

// A fragments of both halves from the words of two rows and their two scales.
__device__ __forceinline__ void DecodeRows(uint32_t first, uint32_t second, uint32_t scales,
                                           uint32_t (&a)[2][4]) {
  const uint32_t first_scale = (scales & 0xffffu) | scales << 16;
  const uint32_t second_scale = scales >> 16 | (scales & 0xffff0000u);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    a[half][0] = DecodePair(first >> 4 * half, first_scale);
    a[half][1] = DecodePair(second >> 4 * half, second_scale);
    a[half][2] = DecodePair(first >> (4 * half + 8), first_scale);
    a[half][3] = DecodePair(second >> (4 * half + 8), second_scale);
  }
}

// a[s][half] from a lane's 16 bytes of nibbles and 8 bytes of scales.
__device__ __forceinline__ void DecodeGroup(const uint4& words, const uint2& scales,
                                            uint32_t (&a)[2][2][4]) {
  DecodeRows(words.x, words.y, scales.x, a[0]);
  DecodeRows(words.z, words.w, scales.y, a[1]);
}

// The shard that holds an intermediate column.
__device__ __forceinline__ int32_t ShardOf(const ExpertCuts& cuts, int32_t column) {
  int32_t shard = 0;
  while (shard + 1 < cuts.n_shards && column >= cuts.begin[shard + 1]) ++shard;
  return shard;
}

// A panel of gate (which = 0) or up (1) of intermediate columns 16 panel ..
__device__ __forceinline__ Global<const uint8_t> GateUpPanel(Global<const uint8_t> expert,
                                                             const ExpertCuts& cuts, int32_t panel,
                                                             int which) {
  const int32_t shard = ShardOf(cuts, panel * 16), begin = cuts.begin[shard];
  const ExpertLayout layout = {cuts.hidden, cuts.begin[shard + 1] - begin};
  return expert + cuts.offset[shard] + layout.gate_panel(panel - begin / 16) +
         which * layout.gate_up_panel_bytes();
}

// A shard's part of a panel of down.
__device__ __forceinline__ Global<const uint8_t> DownPanel(Global<const uint8_t> expert,
                                                           const ExpertCuts& cuts, int32_t panel,
                                                           int32_t shard) {
  const ExpertLayout layout = {cuts.hidden, cuts.begin[shard + 1] - cuts.begin[shard]};
  return expert + cuts.offset[shard] + layout.down_panel(panel);
}

// A thread's way through every kStride-th group of a panel, from group `first` on: where `words_at`
// bytes into the nibbles and `scales_at` bytes into the scales of the group lie. Pointers that
// move, because whatever can be computed anew from the thread's number, the compiler computes anew
// in each step. They may be used only while there is a group.
template <int kStride>
class GateUpWalk {
 public:
  __device__ __forceinline__ GateUpWalk(Global<const uint8_t> expert, const ExpertCuts& cuts,
                                        int32_t panel, int which, int32_t first, int words_at,
                                        int scales_at) {
    const Global<const uint8_t> data = GateUpPanel(expert, cuts, panel, which);
    words_ = data + first * kGroupBytes + words_at;
    scales_ = data + PanelScaleOffset(cuts.hidden) + first * kGroupScaleBytes + scales_at;
  }
  __device__ __forceinline__ Global<const uint8_t> words() const { return words_; }
  __device__ __forceinline__ Global<const uint8_t> scales() const { return scales_; }
  __device__ __forceinline__ void Advance() {
    words_ += kStride * kGroupBytes;
    scales_ += kStride * kGroupScaleBytes;
  }

 private:
  Global<const uint8_t> words_, scales_;
};

// The same through the shards of a panel of down.
template <int kStride>
class DownWalk {
 public:
  __device__ __forceinline__ DownWalk(Global<const uint8_t> expert, const ExpertCuts& cuts,
                                      int32_t panel, int32_t first, int words_at, int scales_at)
      : expert_(expert),
        cuts_(cuts),
        panel_(panel),
        words_at_(words_at),
        scales_at_(scales_at),
        group_(first) {
    if (group_ < cuts.width / 32) EnterShard();
  }
  __device__ __forceinline__ Global<const uint8_t> words() const { return words_; }
  __device__ __forceinline__ Global<const uint8_t> scales() const { return scales_; }
  __device__ __forceinline__ void Advance() {
    group_ += kStride;
    words_ += kStride * kGroupBytes;
    scales_ += kStride * kGroupScaleBytes;
    if (group_ >= end_ && group_ < cuts_.width / 32) EnterShard();
  }

 private:
  __device__ __forceinline__ void EnterShard() {
    const int32_t shard = ShardOf(cuts_, group_ * 32);
    const int32_t begin = cuts_.begin[shard], end = cuts_.begin[shard + 1];
    const int32_t in_shard = group_ - begin / 32;
    end_ = end / 32;
    const Global<const uint8_t> data = DownPanel(expert_, cuts_, panel_, shard);
    words_ = data + in_shard * kGroupBytes + words_at_;
    scales_ = data + PanelScaleOffset(end - begin) + in_shard * kGroupScaleBytes + scales_at_;
  }

  Global<const uint8_t> expert_;
  const ExpertCuts& cuts_;
  int32_t panel_;
  int words_at_, scales_at_;
  int32_t group_, end_ = 0;
  Global<const uint8_t> words_ = nullptr, scales_ = nullptr;
};

// h of one column: silu(gate) * up.
__device__ __forceinline__ float GatedUnit(float gate, float up) {
  return gate / (1.0f + expf(-gate)) * up;
}

}  // namespace tandem::TANDEM_GPU
