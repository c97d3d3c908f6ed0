#include "engine/page_eviction.h"

#include <algorithm>

namespace tandem {

void PageEviction::Touch(CachedPage& node) {
  constexpr int32_t kMostHits = 7;
  // By operations K2.6's attention to some 26,000 tokens costs what all its matrices do.
  constexpr double kTokensThatDoubleTheCost = 32768;
  node.last_use = ++uses_;
  node.worth =
      age_ + (1 + std::min(node.hits, kMostHits)) * (1 + node.position / kTokensThatDoubleTheCost);
}

int32_t PageEviction::Pop() {
  if (order_.empty()) return -1;
  const auto [worth, last_use, page] = *order_.begin();
  order_.erase(order_.begin());
  age_ = std::max(age_, worth);
  return page;
}

}  // namespace tandem
