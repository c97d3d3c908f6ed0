// How much each expert has been used of late: hits that fade, by phase. Told by the engine's
// thread, looked at from any.
#pragma once

#include <array>
#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "placement/model_identity.h"
#include "placement/routing_observer.h"

namespace tandem {

class HeatMap final : public RoutingObserver {
 public:
  // After `half_life` a hit counts half.
  HeatMap(const ModelIdentity& model, std::chrono::duration<double> half_life);

  void BeginStep(std::span<const RoutedRow> rows) override { rows_ = rows; }
  void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
              View<const float, 2> weights) override;
  void EndStep() override;

  struct Picture {
    std::vector<float> hits;  // [MoE layers * experts], those of now counting 1
    std::vector<bool> hot;    // likewise: lay on the GPU when last used
  };
  Picture Look(Phase phase) const;

  int32_t moe_layers() const { return model_.layers - model_.dense_layers; }
  int32_t experts() const { return model_.experts; }
  int32_t first_layer() const { return model_.dense_layers; }

 private:
  using Clock = std::chrono::steady_clock;
  // What a hit of now counts: instead of all others fading, new ones weigh more.
  double WeightNow() const;
  void Rescale(double weight);

  const ModelIdentity model_;
  const std::chrono::duration<double> half_life_;
  std::span<const RoutedRow> rows_;  // of the running step
  mutable std::mutex mutex_;
  Clock::time_point since_ = Clock::now();  // when a hit weighed 1
  double weight_ = 1;                       // of the running step's hits
  std::array<std::vector<float>, kPhases> hits_;
  std::vector<bool> hot_;
};

}  // namespace tandem
