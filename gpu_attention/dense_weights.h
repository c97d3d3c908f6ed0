// Views of the dense side's checkpoint tensors, all BF16 [out, in] row-major unless said.
#pragma once

#include "core/bf16.h"
#include "core/tensor.h"

namespace tandem {

using MatrixView = View<const bf16, 2>;
using VectorView = View<const bf16, 1>;

struct MlpWeights {
  MatrixView gate, up;  // [intermediate, hidden]
  MatrixView down;      // [hidden, intermediate]
};

struct AttentionWeights {
  VectorView input_norm;  // [hidden]
  MatrixView q_proj;      // [heads * qk_dim, hidden]; only if q_lora_rank == 0
  MatrixView q_a;         // [q_lora_rank, hidden]
  VectorView q_a_norm;    // [q_lora_rank]
  MatrixView q_b;         // [heads * qk_dim, q_lora_rank]; per head nope then rope
  MatrixView kv_a;        // [kv_lora_rank + qk_rope_dim, hidden]
  VectorView kv_a_norm;   // [kv_lora_rank]
  MatrixView kv_b;        // [heads * (qk_nope_dim + v_dim), kv_lora_rank]; per head k then v
  MatrixView o_proj;      // [hidden, heads * v_dim]
};

struct RouterWeights {
  View<const float, 2> gate;  // [experts, hidden]
  View<const float, 1> bias;  // [experts], e_score_correction_bias: chooses, never weighs
};

struct LayerWeights {
  AttentionWeights attention;
  VectorView post_attention_norm;  // [hidden]
  MlpWeights dense;                // only in dense layers
  MlpWeights shared;               // only in MoE layers with shared experts
  RouterWeights router;            // only in MoE layers
};

struct GlobalWeights {
  MatrixView embedding;   // [vocab, hidden]
  VectorView final_norm;  // [hidden]
  MatrixView head;        // [vocab, hidden]
};

}  // namespace tandem
