// Numbers that must not be swapped for one another.
#pragma once

#include <compare>
#include <cstdint>

namespace tandem {

// Index of a decoder layer, counted from 0 including dense layers.
struct LayerId {
  int32_t value = 0;
  auto operator<=>(const LayerId&) const = default;
};

// Index of a routed expert within its layer.
struct ExpertId {
  int32_t value = 0;
  auto operator<=>(const ExpertId&) const = default;
};

// Operating-system number of a NUMA node; kAny leaves the choice to the system.
struct NumaNode {
  static constexpr int32_t kAnyNode = -1;
  int32_t value = kAnyNode;
  auto operator<=>(const NumaNode&) const = default;
};

}  // namespace tandem
