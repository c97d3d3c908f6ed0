// Random routings, and the calls by which an engine would tell of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "placement/routing_observer.h"

namespace tandem {

// A step as the engine has it. ids, weights [moe_layers][rows][top_k].
struct FakeStep {
  std::vector<RoutedRow> rows;
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::vector<float>> weights;
};

inline ModelIdentity SmallModel(int32_t layers = 4, int32_t experts = 16, int32_t top_k = 3) {
  return {.architecture = "kimi_k25",
          .layers = layers + 1,
          .dense_layers = 1,
          .hidden = 64,
          .experts = experts,
          .top_k = top_k,
          .expert_intermediate = 32,
          .router_hash = 7};
}

// Different experts per row, some of them hot; `skew` > 1 prefers low ids.
inline FakeStep RandomStep(const ModelIdentity& model, std::vector<RoutedRow> rows,
                           std::mt19937_64& random, double skew = 1.0) {
  FakeStep step{.rows = std::move(rows), .ids = {}, .weights = {}};
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int32_t layer = 0; layer < model.moe_layers(); ++layer) {
    std::vector<int32_t> ids;
    std::vector<float> weights;
    for (size_t row = 0; row < step.rows.size(); ++row) {
      std::vector<int32_t> of_row;
      while (std::ssize(of_row) < model.top_k) {
        const auto id = static_cast<int32_t>(model.experts * std::pow(uniform(random), skew));
        if (std::find(of_row.begin(), of_row.end(), id) == of_row.end()) of_row.push_back(id);
      }
      for (const int32_t id : of_row) {
        ids.push_back(random() % 3 == 0 ? ~id : id);
        weights.push_back(static_cast<float>(uniform(random)));
      }
    }
    step.ids.push_back(std::move(ids));
    step.weights.push_back(std::move(weights));
  }
  return step;
}

inline void TellRouted(const ModelIdentity& model, const FakeStep& step, int32_t moe_layer,
                       int32_t first, int32_t count, RoutingObserver& observer) {
  const int64_t at = int64_t{first} * model.top_k;
  observer.Routed({model.dense_layers + moe_layer}, first,
                  {step.ids[moe_layer].data() + at, {count, model.top_k}},
                  {step.weights[moe_layer].data() + at, {count, model.top_k}});
}

// In one part, or in two that are cut at `second_part_row`.
inline void Tell(const ModelIdentity& model, const FakeStep& step, RoutingObserver& observer,
                 int32_t second_part_row = 0) {
  const auto rows = static_cast<int32_t>(step.rows.size());
  observer.BeginStep(step.rows);
  for (int32_t layer = 0; layer < model.moe_layers(); ++layer) {
    TellRouted(model, step, layer, 0, second_part_row > 0 ? second_part_row : rows, observer);
    if (second_part_row > 0)
      TellRouted(model, step, layer, second_part_row, rows - second_part_row, observer);
  }
  observer.EndStep();
}

// Steps of prompts and answers of several requests, with labels by request number.
inline std::vector<FakeStep> RandomSteps(const ModelIdentity& model, int n_steps,
                                         std::mt19937_64& random, double skew = 1.0) {
  static constexpr std::string_view kLabels[] = {"", "code", "german"};
  std::vector<FakeStep> steps;
  for (int i = 0; i < n_steps; ++i) {
    std::vector<RoutedRow> rows;
    const uint64_t requests = 1 + random() % 5;
    for (uint64_t r = 0; r < requests; ++r) {
      const uint64_t sequence = i / 4 + r;
      const bool prefill = random() % 4 == 0;
      const RoutedRow row = {sequence, kLabels[sequence % 3],
                             prefill ? Phase::kPrefill : Phase::kDecode};
      rows.insert(rows.end(), prefill ? 1 + random() % 20 : 1, row);
    }
    steps.push_back(RandomStep(model, std::move(rows), random, skew));
  }
  return steps;
}

}  // namespace tandem
