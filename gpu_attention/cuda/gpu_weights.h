// The dense side's weights in device memory: BF16 matrices as published, [out, in] row-major; norms
// and biases in F32.
#pragma once

#include <string>

#include "core/ids.h"
#include "core/model_shape.h"
#include "core/status.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/dense_weights.h"

namespace tandem::TANDEM_GPU {

// Gate over up, and down: one MLP.
struct DeviceMlp {
  DeviceBuffer gate_up;  // [2 * intermediate, hidden]
  DeviceBuffer down;     // [hidden, intermediate]
};

struct DeviceLayer {
  DeviceBuffer input_norm, q_a_norm, kv_a_norm, post_attention_norm;  // F32
  DeviceBuffer qa_kva;  // [q_lora_rank + cache_dim, hidden]
  DeviceBuffer q;       // [heads * qk_dim, q_lora_rank, or hidden if that is 0]
  DeviceBuffer kv_b;    // [heads * (nope + v), kv_lora_rank]: W_uk and W_uv of each head
  DeviceBuffer o_proj;  // [hidden, heads * v_dim]
  DeviceMlp mlp;        // the dense MLP or the shared experts
  DeviceBuffer router;  // [experts, hidden], BF16 if that is exact, else F32
  bool router_is_bf16 = true;
  DeviceBuffer router_bias;  // F32 [experts]
};

struct DeviceGlobals {
  DeviceBuffer embedding;   // [vocab, hidden]
  DeviceBuffer final_norm;  // F32
  DeviceBuffer head;        // [vocab, hidden]
};

// Copies to the device. Errors: INVALID_ARGUMENT naming the tensor, expected and got shape;
// RESOURCE_EXHAUSTED naming the tensor and the memory left.
absl::StatusOr<DeviceGlobals> LoadGlobals(const ModelShape& shape, const GlobalWeights& weights,
                                          Stream& stream);
absl::StatusOr<DeviceLayer> LoadLayer(const ModelShape& shape, LayerId id,
                                      const LayerWeights& weights, Stream& stream);

int64_t SizeOf(const DeviceGlobals& globals);
int64_t SizeOf(const DeviceLayer& layer);

}  // namespace tandem::TANDEM_GPU
