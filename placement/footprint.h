// What a model needs: bytes to hold, bytes to read per decoded token, memory to compute in. Pure
// arithmetic on the shape.
#pragma once

#include <cstdint>

#include "core/model_shape.h"
#include "placement/model_identity.h"

namespace tandem {

// Bytes of one dense weight, scales included.
inline constexpr double kBf16WeightBytes = 2.0;
// Routed experts: 4-bit weights and one BF16 scale per 32 of them.
inline constexpr double kInt4WeightBytes = 0.5 + 2.0 / 32;
// 16: BF16; 8: INT8 with one float of scale per 64 inputs or more.
double DenseWeightBytes(int32_t weight_bits);

struct Footprint {
  int64_t expert_bytes = 0;           // one routed expert
  int64_t routed_bytes = 0;           // all routed experts
  int64_t dense_bytes = 0;            // all matrices but embedding and routed experts
  int64_t embedding_bytes = 0;        // BF16
  int64_t kv_bytes_per_token = 0;     // latent cache, BF16, all layers
  int64_t routed_read_per_token = 0;  // bytes read to decode one token at batch 1
  int64_t dense_read_per_token = 0;

  int64_t weights_bytes() const { return routed_bytes + dense_bytes + embedding_bytes; }
  int64_t read_per_token() const { return routed_read_per_token + dense_read_per_token; }
};

// `dense_weight_bytes`: kBf16WeightBytes, or a little over 1 for INT8 with scales.
Footprint ComputeFootprint(const ModelShape& shape, double dense_weight_bytes);

// Of one routed expert.
inline int64_t ExpertBytes(const ModelIdentity& model) {
  return static_cast<int64_t>(3.0 * model.hidden * model.expert_intermediate * kInt4WeightBytes);
}

// Weights, not bytes, of one layer's latent attention.
int64_t AttentionWeights(const ModelShape& shape);

// Memory that a GPU computes in, for steps of so many rows (gpu_attention/cuda/workspace.h).
int64_t GpuWorkspaceBytes(const ModelShape& shape, int64_t rows);
// The same in RAM: of the routed experts on so many nodes, and of the dense side if it is there.
int64_t RamWorkspaceBytes(const ModelShape& shape, int64_t rows, int64_t nodes, bool dense_side);

}  // namespace tandem
