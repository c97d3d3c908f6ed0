// Which experts a token goes to (DeepSeek-V3's "noaux_tc" choice).
#pragma once

#include <cstdint>
#include <span>

#include "core/model_shape.h"

namespace tandem {

// From a token's router logits, the top_k experts in descending order of choice and their weights:
//   s = sigmoid(logits);  c = s + bias;  with several groups, only experts of the top_k_groups
//   groups with the largest sum of their two largest c;  ids = the top_k largest c, the lower index
//   first among equals;  weights = s[ids], divided by (their sum + 1e-20) if norm_top_k, times
//   routed_scaling. The bias chooses and never weighs.
// choice [experts] is scratch. REQUIRES: top_k_groups of the groups hold at least top_k experts.
void ChooseExperts(const ModelShape& shape, std::span<const float> logits,
                   std::span<const float> bias, std::span<float> choice,
                   std::span<int32_t> expert_ids,  // [top_k]
                   std::span<float> weights);      // [top_k]

}  // namespace tandem
