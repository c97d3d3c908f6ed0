#include "engine/expert_split.h"

#include <algorithm>

namespace tandem {

ExpertSplit::ExpertSplit(const ModelShape& shape, ExpertDevice& device, const CpuExperts& experts,
                         const ExpertSplitOptions& options)
    : device_(device),
      experts_(experts),
      options_(options),
      rows_(shape.experts),
      hot_rows_(shape.experts),
      on_device_(shape.experts) {}

void ExpertSplit::Count(const RoutedTokens& routed) {
  std::ranges::fill(rows_, 0);
  std::ranges::fill(hot_rows_, 0);
  for (int64_t t = 0; t < routed.expert_ids.dim(0); ++t) {
    for (int64_t k = 0; k < routed.expert_ids.dim(1); ++k) {
      const int32_t id = routed.expert_ids(t, k);
      ++(id < 0 ? hot_rows_[~id] : rows_[id]);
    }
  }
}

// Appends to work_, heaviest first.
void ExpertSplit::ChooseStreamed(LayerId layer) {
  if (options_.stream == StreamExperts::kNever || !device_.streams()) return;
  SplitCosts costs = options_.costs;
  costs.cpu_expert_s *= cpu_scale_;
  costs.cpu_row_s *= cpu_scale_;
  if (options_.stream == StreamExperts::kAlways) costs.send_s = costs.gpu_row_s = 0;
  double busy_s = 0;
  for (const int32_t rows : hot_rows_) busy_s += costs.gpu_row_s * rows;
  const PrefillSplit split = SplitPrefill(rows_, costs, busy_s);
  for (const int32_t expert : split.streamed) {
    bytes_.push_back(experts_.Shards(layer, {expert}));
    work_.push_back({{expert}, &bytes_.back()});
    on_device_[expert] = true;
  }
  streamed_ += std::ssize(split.streamed);
}

absl::StatusOr<RoutedTokens> ExpertSplit::Split(LayerId layer, int part,
                                                const RoutedTokens& routed) {
  predicted_cpu_s_ = 0;
  if (device_.computes_hot_itself()) return routed;
  Count(routed);
  work_.clear();
  bytes_.clear();
  bytes_.reserve(rows_.size());  // work_ points into it
  on_device_.assign(rows_.size(), false);
  for (size_t e = 0; e < hot_rows_.size(); ++e)
    if (hot_rows_[e] > 0) work_.push_back({{static_cast<int32_t>(e)}, nullptr});
  ChooseStreamed(layer);
  TANDEM_RETURN_IF_ERROR(device_.ComputeExperts(layer, part, routed, work_));

  left_.clear();
  for (int64_t t = 0; t < routed.expert_ids.dim(0); ++t) {
    for (int64_t k = 0; k < routed.expert_ids.dim(1); ++k) {
      const int32_t id = routed.expert_ids(t, k);
      left_.push_back(id >= 0 && on_device_[id] ? ~id : id);
    }
  }
  for (size_t e = 0; e < rows_.size(); ++e)
    if (!on_device_[e]) predicted_cpu_s_ += options_.costs.CpuSeconds(rows_[e]);
  return RoutedTokens{routed.hidden, {left_.data(), routed.expert_ids.shape()}, routed.weights};
}

void ExpertSplit::NoteCpuSeconds(double seconds) {
  if (predicted_cpu_s_ == 0) return;
  constexpr double kSmoothing = 0.1;
  cpu_scale_ += kSmoothing * (seconds / predicted_cpu_s_ - cpu_scale_);
}

}  // namespace tandem
