// The smallest model that calibration's tests run.
#pragma once

#include "core/model_shape.h"

namespace tandem {

inline ModelShape TinyShape() {
  ModelShape s;
  s.hidden = 64;
  s.layers = 3;
  s.dense_layers = 1;
  s.dense_intermediate = 96;
  s.vocab = 128;
  s.max_positions = 256;
  s.heads = 4;
  s.q_lora_rank = 32;
  s.kv_lora_rank = 32;
  s.qk_nope_dim = 16;
  s.qk_rope_dim = 16;
  s.v_dim = 16;
  s.experts = 8;
  s.top_k = 2;
  s.expert_intermediate = 32;
  s.shared_experts = 1;
  return s;
}

}  // namespace tandem
