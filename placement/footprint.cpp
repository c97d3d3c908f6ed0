#include "placement/footprint.h"

namespace tandem {
namespace {

int64_t AttentionWeights(const ModelShape& s) {
  const int64_t hidden = s.hidden, heads = s.heads;
  const int64_t query = s.q_lora_rank > 0 ? s.q_lora_rank * (hidden + heads * s.qk_dim())
                                          : hidden * heads * s.qk_dim();
  return query + hidden * s.cache_dim() +
         heads * (s.qk_nope_dim + s.v_dim) * int64_t{s.kv_lora_rank} + hidden * heads * s.v_dim;
}

}  // namespace

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

}  // namespace tandem
