// What the router decided for one layer: the meeting point of the dense side and the experts.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "core/tensor.h"

namespace tandem {

struct RoutedTokens {
  View<const bf16, 2> hidden;         // [tokens, hidden], after the norm
  View<const int32_t, 2> expert_ids;  // [tokens, top_k]; an id that is not here (< 0) is skipped
  View<const float, 2> weights;       // [tokens, top_k], routed_scaling already applied
};

}  // namespace tandem
