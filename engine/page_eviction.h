// Which idle page of the prefix cache goes first when room is needed.
//
// Greedy-dual: a page is worth
//   worth = age + (1 + min(hits, 7)) * (1 + position / 32768)
// where `age` is the worth of the last page that went. So a page that was just used stays longer
// than one that was not, one that was hit often outlives several turnovers of those that never
// were, and one far back in a long context, which costs more to compute again, is kept longer. Of
// equal worth the one used longest ago goes. Only leaves go: a page without its parents is of no
// use.
#pragma once

#include <cstdint>
#include <set>
#include <tuple>

#include "engine/prefix_tree.h"

namespace tandem {

class PageEviction {
 public:
  // Its last holder has left it just now.
  void Touch(CachedPage& node);
  // May go from now on. REQUIRES: idle, no children.
  void Add(const CachedPage& node) { order_.insert(KeyOf(node)); }
  // Is in use again, or has children. It need not be there.
  void Remove(const CachedPage& node) { order_.erase(KeyOf(node)); }
  // The page that goes next; it is taken out. -1: none.
  int32_t Pop();

 private:
  using Key = std::tuple<double, uint64_t, int32_t>;
  static Key KeyOf(const CachedPage& node) { return {node.worth, node.last_use, node.page}; }

  std::set<Key> order_;
  double age_ = 0;
  uint64_t uses_ = 0;
};

}  // namespace tandem
