// The numbers that describe a model of the DeepSeek-V3 / Kimi K2 family. Read from config.json by
// engine/checkpoint/model_config.h; nothing else knows sizes of a particular model.
#pragma once

#include <cstdint>

namespace tandem {

// YaRN context extension (arXiv 2309.00071); factor 1 means plain RoPE.
struct YarnShape {
  double factor = 1.0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double mscale = 1.0;
  double mscale_all_dim = 0.0;
  int64_t original_max_positions = 0;
};

struct ModelShape {
  int32_t hidden = 0;
  int32_t layers = 0;
  int32_t dense_layers = 0;        // the first layers with a plain MLP instead of experts
  int32_t dense_intermediate = 0;  // width of that MLP
  int32_t vocab = 0;
  int64_t max_positions = 0;
  float rms_norm_eps = 1e-5f;
  float mla_norm_eps = 0;  // of the norms inside MLA (q_a, kv_a); 0: the same as rms_norm_eps

  // Multi-head latent attention.
  int32_t heads = 0;
  int32_t q_lora_rank = 0;  // 0: one plain q_proj instead of q_a, norm, q_b
  int32_t kv_lora_rank = 0;
  int32_t qk_nope_dim = 0;
  int32_t qk_rope_dim = 0;
  int32_t v_dim = 0;
  double rope_theta = 10000.0;
  YarnShape yarn;

  // Mixture of experts.
  int32_t experts = 0;  // routed experts per layer
  int32_t top_k = 0;
  int32_t expert_intermediate = 0;
  int32_t shared_experts = 0;  // fused: one MLP of width shared_experts * expert_intermediate
  int32_t expert_groups = 1;   // n_group; 1 in all Kimi models
  int32_t top_k_groups = 1;    // topk_group
  bool norm_top_k = true;
  float routed_scaling = 1.0f;

  int32_t qk_dim() const { return qk_nope_dim + qk_rope_dim; }
  int32_t cache_dim() const {
    return kv_lora_rank + qk_rope_dim;
  }  // elements cached per token, layer
  int32_t shared_intermediate() const { return shared_experts * expert_intermediate; }
  bool is_moe(int32_t layer) const { return layer >= dense_layers; }
  int32_t moe_layers() const { return layers - dense_layers; }
};

}  // namespace tandem
