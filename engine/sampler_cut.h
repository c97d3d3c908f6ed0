// Where a filter cuts the tokens of a row, ordered by logit, larger first, lower id first among
// equals. Found by a histogram over the logits and a sort of the one bucket that holds the cut.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "engine/log_softmax.h"

namespace tandem {

// The last token that is kept.
struct Cut {
  float logit;
  int32_t id = std::numeric_limits<int32_t>::max();

  bool Keeps(float x, int32_t i) const { return (x > logit) | ((x == logit) & (i <= id)); }
};

// Keeps the `count` first tokens. REQUIRES: 1 <= count <= logits.size().
Cut CutAtCount(std::span<const float> logits, const LogitRange& range, int64_t count);

// Keeps the shortest run of tokens whose weights sum to `mass` or more. A token dropped before has
// weight 0. REQUIRES: other weights fall with the logits; 0 < mass <= their sum.
Cut CutAtMass(std::span<const float> logits, std::span<const float> weights,
              const LogitRange& range, double mass);

// Sets the weights of the tokens that the cut drops to 0.
void DropBehind(const Cut& cut, std::span<const float> logits, std::span<float> weights);

}  // namespace tandem
