// Routed experts whose weights lie on the GPU, for decode and small batches. The device alone knows
// which they are, so the launches can be recorded into a graph.
//
//   y[t,:] = sum over the hot (t,k): weights[t,k] * down_e(h),  h = bf16(silu(gate_e x) * (up_e x))
//   e = ~expert_ids[t,k];  weight = bf16((nibble - 8) * scale);  sums in F32
//
// A token without hot experts gets zeros. A token's experts are added in ascending id; sums have an
// order fixed by the shape: same bits for any batch and grid.
//
// Four kernels: group (lists the pairs (t,k) of each active expert, arranges x), gate-up, down,
// combine. Bytes: the weights of every active expert, 24.8 MB each for K2.6, once per 32 tokens
// that share it. Bound: HBM while an expert has few tokens; 8 experts of one token are 198 MB,
// 59 us at 3.35 TB/s. Decoding takes about 120 instructions of a warp per 576 bytes (two panels, 32
// inputs): the issue slots of an H100 would carry 4.4 TB/s.
#pragma once

#include "core/bf16.h"
#include "gpu_attention/cuda/expert_weights.h"
#include "gpu_attention/cuda/launch.h"

namespace tandem::TANDEM_GPU {

constexpr int32_t kMaxHotPairs = 4096;  // tokens * top_k

struct HotExpertsArgs {
  int32_t tokens = 0;
  int32_t top_k = 0;
  int32_t experts = 0;          // ids are below this
  int32_t multiprocessors = 1;  // of the device: how many blocks share the work
  ExpertCuts cuts;
  Global<const bf16> x;              // [tokens, hidden], 16-byte aligned
  Global<const int32_t> expert_ids;  // [tokens, top_k], ~e for the hot ones (router.h)
  Global<const float> weights;       // [tokens, top_k]
  Global<const int32_t> slot_of;     // [experts], read for the hot ones only
  Global<const uint8_t> pool;        // slot s: an expert's bytes from s * slot_stride on
  int64_t slot_stride = 0;           // bytes, a multiple of 64
  Global<uint8_t> workspace;         // [HotExpertsWorkspaceBytes()], 256-byte aligned
  Global<float> y;                   // [tokens, hidden], overwritten
};

int64_t HotExpertsWorkspaceBytes(int32_t tokens, int32_t top_k, int32_t experts,
                                 const ExpertCuts& cuts);
// REQUIRES: tokens * top_k <= kMaxHotPairs, top_k <= 64, experts <= 1024; a token's ids are
// distinct.
void HotExperts(Stream& stream, const HotExpertsArgs& args);

}  // namespace tandem::TANDEM_GPU
