#include "placement/step_routing.h"

#include <bit>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "core/log.h"

namespace tandem {

StepRouting::StepRouting(const ModelIdentity& model)
    : dense_layers_(model.dense_layers),
      moe_layers_(model.moe_layers()),
      experts_(model.experts),
      top_k_(model.top_k),
      rows_seen_(model.moe_layers()) {}

void StepRouting::Begin(std::span<const RoutedRow> rows) {
  rows_ = rows;
  ids_.resize(rows.size() * moe_layers_ * top_k_);
  weights_.resize(ids_.size());
  rows_seen_.assign(moe_layers_, 0);
  begun_ = true;
  problem_.clear();
}

void StepRouting::Add(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
                      View<const float, 2> weights) {
  const int32_t moe_layer = layer.value - dense_layers_;
  if (!Fits(moe_layer, first_row, expert_ids, weights)) return;
  const auto experts = static_cast<uint32_t>(experts_);
  bool sound = true;
  for (int64_t row = 0; row < expert_ids.dim(0); ++row) {
    const size_t at = ((first_row + row) * moe_layers_ + moe_layer) * size_t(top_k_);
    for (int32_t k = 0; k < top_k_; ++k) {
      const int32_t id = expert_ids(row, k);
      const auto expert = static_cast<uint32_t>(id < 0 ? ~id : id);
      const float weight = weights(row, k);
      const bool exists = expert < experts;
      sound &= exists && weight >= 0 && weight <= 3e38f;  // a NaN is neither
      ids_[at + k] = exists ? static_cast<uint16_t>(expert) : 0;
      weights_[at + k] = weight;
    }
  }
  if (!sound)
    Refuse(absl::StrCat("layer ", layer.value, " has an expert or a weight that cannot be"));
  rows_seen_[moe_layer] += static_cast<int32_t>(expert_ids.dim(0));
}

bool StepRouting::Fits(int32_t moe_layer, int32_t first_row, View<const int32_t, 2> ids,
                       View<const float, 2> weights) {
  if (!begun_ || !problem_.empty()) return false;
  if (moe_layer < 0 || moe_layer >= moe_layers_) {
    Refuse(
        absl::StrCat("layer ", moe_layer + dense_layers_, " routes, which this model's does not"));
  } else if (first_row < 0 || first_row + ids.dim(0) > std::ssize(rows_)) {
    Refuse(absl::StrCat("rows ", first_row, " to ", first_row + ids.dim(0), " of a step of ",
                        rows_.size()));
  } else if (ids.dim(1) != top_k_ || weights.shape() != ids.shape()) {
    Refuse(absl::StrCat(ids.dim(1), " experts per token; expected ", top_k_));
  }
  return problem_.empty();
}

bool StepRouting::Finish() {
  if (!begun_) Refuse("it ended without having begun");
  begun_ = false;
  for (int32_t layer = 0; layer < moe_layers_ && problem_.empty(); ++layer) {
    if (rows_seen_[layer] == std::ssize(rows_)) continue;
    Refuse(absl::StrCat("layer ", layer + dense_layers_, " routed ", rows_seen_[layer], " of ",
                        rows_.size(), " rows"));
  }
  return problem_.empty();
}

void StepRouting::Refuse(std::string problem) {
  if (problem_.empty()) problem_ = std::move(problem);
}

void LogDroppedStep(const char* who, int64_t dropped, const std::string& problem) {
  if (!std::has_single_bit(static_cast<uint64_t>(dropped))) return;
  LogWarning("{}: left out a step, number {} so far: {}", who, dropped, problem);
}

}  // namespace tandem
