// Where a filter cuts the tokens of a row, ordered by logit, larger first, lower id first among
// equals. Found by a histogram over the logits and a sort of the one bucket that holds the cut.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "engine/log_softmax.h"

namespace tandem {

// The last token that is kept.
struct Cut {
  float logit;
  int32_t id = std::numeric_limits<int32_t>::max();

  bool Keeps(float x, int32_t i) const { return (x > logit) | ((x == logit) & (i <= id)); }
};

// One row's histogram. Reused from row to row for its memory.
class CutFinder {
 public:
  // Sorts the logits into buckets; the views must stay valid while cuts are asked for.
  void Reset(std::span<const float> logits, const LogitRange& range);

  // Keeps the `count` first tokens. REQUIRES: 1 <= count <= logits.size().
  Cut AtCount(int64_t count) const;

  // Keeps the shortest run of tokens whose weights sum to `mass` or more. A token dropped before
  // has weight 0. REQUIRES: other weights fall with the logits; 0 < mass <= their sum.
  Cut AtMass(std::span<const float> weights, double mass) const;

 private:
  template <class Value>
  Cut Where(double target, const Value& value) const;

  std::span<const float> logits_;
  float min_ = 0;
  std::vector<int32_t> bucket_of_;  // by token; bucket 0 holds the largest logits
};

// Sets the weights of the tokens that the cut drops to 0.
void DropBehind(const Cut& cut, std::span<const float> logits, std::span<float> weights);

}  // namespace tandem
