#include "gpu_attention/host/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace tandem {
namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();
constexpr float kLeast = std::numeric_limits<float>::lowest();  // above kOut

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

float SumOfTwoLargest(std::span<const float> values) {
  float first = kOut, second = kOut;
  for (float v : values) {
    if (v > first) {
      second = std::exchange(first, v);
    } else {
      second = std::max(second, v);
    }
  }
  return values.size() > 1 ? first + second : first;
}

// Puts the experts of all but the best groups out of the race.
void KeepBestGroups(const ModelShape& shape, std::span<float> choice) {
  const int32_t size = shape.experts / shape.expert_groups;
  auto group = [&](int32_t g) { return choice.subspan(size_t(g) * size, size); };
  std::vector<std::pair<float, int32_t>> scores;
  for (int32_t g = 0; g < shape.expert_groups; ++g)
    scores.emplace_back(-SumOfTwoLargest(group(g)), g);
  std::sort(scores.begin(), scores.end());
  for (int32_t g = shape.top_k_groups; g < shape.expert_groups; ++g)
    std::ranges::fill(group(scores[g].second), kOut);
}

}  // namespace

void ChooseExperts(const ModelShape& shape, std::span<const float> logits,
                   std::span<const float> bias, std::span<float> choice,
                   std::span<int32_t> expert_ids, std::span<float> weights) {
  // Not-a-number comes last, so that even then the ids are distinct and exist.
  for (size_t e = 0; e < logits.size(); ++e) {
    const float score = Sigmoid(logits[e]) + bias[e];
    choice[e] = score > kLeast ? score : kLeast;
  }
  if (shape.expert_groups > 1) KeepBestGroups(shape, choice);
  float sum = 0;
  for (size_t k = 0; k < expert_ids.size(); ++k) {
    const auto best = std::ranges::max_element(choice);  // the first among equals
    const auto expert = static_cast<size_t>(best - choice.begin());
    expert_ids[k] = static_cast<int32_t>(expert);
    weights[k] = Sigmoid(logits[expert]);
    sum += weights[k];
    choice[expert] = kOut;
  }
  const float factor = (shape.norm_top_k ? 1.0f / (sum + 1e-20f) : 1.0f) * shape.routed_scaling;
  for (float& w : weights) w *= factor;
}

}  // namespace tandem
