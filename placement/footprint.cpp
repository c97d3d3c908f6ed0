#include "placement/footprint.h"

#include <algorithm>

#include "core/status.h"

namespace tandem {

double DenseWeightBytes(int32_t weight_bits) {
  TANDEM_CHECK(weight_bits == 16 || weight_bits == 8, "dense weights are BF16 or INT8");
  return weight_bits == 16 ? kBf16WeightBytes : 1.0 + 4.0 / 64;
}

int64_t AttentionWeights(const ModelShape& s) {
  const int64_t hidden = s.hidden, heads = s.heads;
  const int64_t query = s.q_lora_rank > 0 ? s.q_lora_rank * (hidden + heads * s.qk_dim())
                                          : hidden * heads * s.qk_dim();
  return query + hidden * s.cache_dim() +
         heads * (s.qk_nope_dim + s.v_dim) * int64_t{s.kv_lora_rank} + hidden * heads * s.v_dim;
}

Footprint ComputeFootprint(const ModelShape& s, double dense_weight_bytes) {
  const int64_t hidden = s.hidden, moe_layers = s.moe_layers();
  Footprint f;
  f.expert_bytes = static_cast<int64_t>(3.0 * hidden * s.expert_intermediate * kInt4WeightBytes);
  f.routed_bytes = f.expert_bytes * s.experts * moe_layers;
  const int64_t head = hidden * s.vocab;
  const int64_t router_bytes = 4 * hidden * s.experts * moe_layers;  // kept in FP32
  const int64_t matrices =
      s.layers * AttentionWeights(s) +
      3 * hidden *
          (int64_t{s.dense_layers} * s.dense_intermediate + moe_layers * s.shared_intermediate()) +
      head;
  f.dense_bytes = static_cast<int64_t>(matrices * dense_weight_bytes) + router_bytes;
  f.embedding_bytes = static_cast<int64_t>(head * kBf16WeightBytes);
  f.kv_bytes_per_token = int64_t{2} * s.cache_dim() * s.layers;
  f.routed_read_per_token = f.expert_bytes * s.top_k * moe_layers;
  f.dense_read_per_token = f.dense_bytes;
  return f;
}

// The largest of what a row of a step takes, and what does not grow with them.
int64_t GpuWorkspaceBytes(const ModelShape& s, int64_t rows) {
  const int64_t widest = std::max(s.dense_intermediate, s.shared_intermediate());
  const int64_t row_bytes = 26 * int64_t{s.hidden} + 10 * widest + 10 * s.heads * int64_t{s.v_dim} +
                            2 * s.heads * int64_t{s.qk_dim()};
  return rows * row_bytes + (int64_t{256} << 20);
}

int64_t RamWorkspaceBytes(const ModelShape& s, int64_t rows, int64_t nodes, bool dense_side) {
  // Rows, quantised rows and sums; a pair of row and expert has its input and its activations.
  const int64_t expert_row_bytes =
      8 * int64_t{s.hidden} + 2 * s.top_k * (int64_t{s.hidden} + s.expert_intermediate);
  const int64_t experts_bytes = s.moe_layers() > 0 ? nodes * rows * expert_row_bytes : 0;
  const int64_t logits_bytes = 4 * int64_t{s.vocab} * rows;
  return experts_bytes + (int64_t{256} << 20) +
         (dense_side ? GpuWorkspaceBytes(s, rows) + logits_bytes : 0);
}

}  // namespace tandem
