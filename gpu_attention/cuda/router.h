// Which experts a token goes to (gpu_attention/host/router.h), from the router's logits on.
//
//   logits[t,e] = x[t,:] . gate[e,:]      s = sigmoid(logits), c = s + bias
//   of several groups only the top_k_groups with the largest sum of their two largest c stay in;
//   ids = the top_k largest c, the lower index first among equals;
//   weights = s[ids], divided by (their sum + 1e-20) if norm_top_k, times routed_scaling
//
// Products are exact and sums F32, in an order fixed by `hidden`: same bits for any batch.
// Two kernels: logits, choose. Bytes: the gate once per 32 tokens, 5.5 MB for K2.6 in BF16 (1.6 us
// at 3.35 TB/s, or from L2 in a second step); the launches cost more. An F32 gate is twice that.
#pragma once

#include "core/bf16.h"
#include "gpu_attention/cuda/launch.h"

namespace tandem::TANDEM_GPU {

struct RouterArgs {
  int32_t tokens = 0;
  int32_t hidden = 0;  // multiple of 32
  int32_t experts = 0;
  int32_t top_k = 0;
  int32_t expert_groups = 1;
  int32_t top_k_groups = 1;
  bool norm_top_k = true;
  float routed_scaling = 1;
  Global<const bf16> x;           // [tokens, hidden], 16-byte aligned
  Global<const bf16> gate_bf16;   // [experts, hidden], 16-byte aligned; this one
  Global<const float> gate_f32;   // or this one
  Global<const float> bias;       // [experts]
  Global<const int32_t> slot_of;  // [experts] >= 0: hot, its weights lie on the GPU; may be null
  Global<float> workspace;        // [RouterWorkspaceFloats()]
  Global<int32_t> expert_ids;     // [tokens, top_k] in descending order of choice; ~e for a hot one
  Global<float> weights;          // [tokens, top_k]
};

int64_t RouterWorkspaceFloats(int32_t tokens, int32_t hidden, int32_t experts);
// REQUIRES: top_k_groups of the groups hold at least top_k experts.
void Router(Stream& stream, const RouterArgs& args);

}  // namespace tandem::TANDEM_GPU
