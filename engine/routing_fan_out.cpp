#include "engine/routing_fan_out.h"

namespace tandem {

void RoutingFanOut::Add(std::shared_ptr<RoutingObserver> observer) {
  observers_.push_back(std::move(observer));
}

void RoutingFanOut::Remove(const RoutingObserver* observer) {
  std::erase_if(observers_, [&](const auto& held) { return held.get() == observer; });
}

void RoutingFanOut::BeginStep(std::span<const RoutedRow> rows) {
  rows_ = rows;
  for (const auto& observer : observers_) observer->BeginStep(rows);
}

void RoutingFanOut::Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
                           View<const float, 2> weights) {
  for (int64_t t = 0; t < expert_ids.dim(0); ++t) {
    int64_t hot = 0;
    for (int64_t k = 0; k < expert_ids.dim(1); ++k) hot += expert_ids(t, k) < 0;
    const auto phase = static_cast<size_t>(rows_[first_row + t].phase);
    pairs_.all[phase] += expert_ids.dim(1);
    pairs_.hot[phase] += hot;
  }
  for (const auto& observer : observers_) observer->Routed(layer, first_row, expert_ids, weights);
}

void RoutingFanOut::EndStep() {
  for (const auto& observer : observers_) observer->EndStep();
  rows_ = {};
}

}  // namespace tandem
