// Passes what a step routed on to everybody who wants to know, and counts hits of the hot experts.
// Engine's thread only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "placement/routing_observer.h"

namespace tandem {

// Chosen experts so far, by phase.
struct RoutedPairs {
  std::array<int64_t, kPhases> all{};
  std::array<int64_t, kPhases> hot{};  // of these, computed where they lie on the GPU
};

class RoutingFanOut : public RoutingObserver {
 public:
  void Add(std::shared_ptr<RoutingObserver> observer);
  void Remove(const RoutingObserver* observer);

  void BeginStep(std::span<const RoutedRow> rows) override;
  void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
              View<const float, 2> weights) override;
  void EndStep() override;

  const RoutedPairs& pairs() const { return pairs_; }

 private:
  std::vector<std::shared_ptr<RoutingObserver>> observers_;
  std::span<const RoutedRow> rows_;
  RoutedPairs pairs_;
};

}  // namespace tandem
