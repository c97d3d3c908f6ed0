#include "service/ops/heat_map.h"

#include <algorithm>
#include <cmath>

namespace tandem {

HeatMap::HeatMap(const ModelIdentity& model, std::chrono::duration<double> half_life)
    : model_(model), half_life_(half_life) {
  const size_t cells = static_cast<size_t>(moe_layers()) * static_cast<size_t>(experts());
  for (auto& hits : hits_) hits.resize(cells);
  hot_.resize(cells);
}

double HeatMap::WeightNow() const {
  return std::exp2(std::chrono::duration<double>(Clock::now() - since_) / half_life_);
}

void HeatMap::Rescale(double weight) {
  for (auto& hits : hits_)
    for (float& hit : hits) hit = static_cast<float>(hit / weight);
  since_ = Clock::now();
  weight_ = 1;
}

void HeatMap::Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
                     View<const float, 2>) {
  std::lock_guard lock(mutex_);
  const size_t base = static_cast<size_t>(layer.value - first_layer()) * experts();
  for (int64_t t = 0; t < expert_ids.dim(0); ++t) {
    auto& hits = hits_[static_cast<size_t>(rows_[first_row + t].phase)];
    for (int64_t k = 0; k < expert_ids.dim(1); ++k) {
      const int32_t id = expert_ids(t, k);
      const size_t cell = base + (id < 0 ? ~id : id);
      hits[cell] += static_cast<float>(weight_);
      hot_[cell] = id < 0;
    }
  }
}

void HeatMap::EndStep() {
  constexpr double kMaxWeight = 1 << 20;  // leaves a float's sum its digits
  std::lock_guard lock(mutex_);
  weight_ = WeightNow();
  if (weight_ > kMaxWeight) Rescale(weight_);
}

HeatMap::Picture HeatMap::Look(Phase phase) const {
  std::lock_guard lock(mutex_);
  Picture picture{hits_[static_cast<size_t>(phase)], hot_};
  const auto weight = static_cast<float>(WeightNow());
  for (float& hit : picture.hits) hit /= weight;
  return picture;
}

}  // namespace tandem
