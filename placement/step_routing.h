// What the router decided in one step, gathered from the calls of a RoutingObserver, hot experts'
// ids recovered, and checked: only a step that came whole, with ids that exist, is handed on. Owned
// by an observer; engine's thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "placement/model_identity.h"
#include "placement/routing_observer.h"

namespace tandem {

class StepRouting {
 public:
  explicit StepRouting(const ModelIdentity& model);

  // As RoutingObserver has them. What Begin() finds unfinished is forgotten.
  void Begin(std::span<const RoutedRow> rows);
  void Add(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
           View<const float, 2> weights);
  // Whether the step is whole and sound; if not, `problem` says why. Ends the step.
  bool Finish();

  // Until the next Begin(); what the rows' labels point to, until the engine's EndStep() returns.
  std::span<const RoutedRow> rows() const { return rows_; }
  std::span<const uint16_t> ids() const { return ids_; }  // [rows][moe_layers][top_k]
  std::span<const float> weights() const { return weights_; }
  const std::string& problem() const { return problem_; }

 private:
  bool Fits(int32_t moe_layer, int32_t first_row, View<const int32_t, 2> ids,
            View<const float, 2> weights);
  void Refuse(std::string problem);

  const int32_t dense_layers_, moe_layers_, experts_, top_k_;
  std::span<const RoutedRow> rows_;
  std::vector<uint16_t> ids_;
  std::vector<float> weights_;
  std::vector<int32_t> rows_seen_;  // [moe_layers]
  bool begun_ = false;
  std::string problem_;
};

// Says on the log, at the first and then at every power of two, that a step was left out.
void LogDroppedStep(const char* who, int64_t dropped, const std::string& problem);

}  // namespace tandem
