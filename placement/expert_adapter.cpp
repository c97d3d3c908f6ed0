#include "placement/expert_adapter.h"

#include <algorithm>
#include <cmath>

#include "core/status.h"
#include "placement/footprint.h"

namespace tandem {

ExpertAdapter::ExpertAdapter(const ModelIdentity& model,
                             const std::vector<std::vector<ExpertId>>& hot,
                             const AdapterOptions& options)
    : model_(model),
      options_(options),
      expert_bytes_(ExpertBytes(model)),
      growth_(std::exp2(1 / options.half_life_tokens)),
      experts_(int64_t{model.layers} * model.experts),
      next_round_(options.interval_tokens) {
  TANDEM_CHECK(std::ssize(hot) == model.layers, "a list of hot experts for every layer");
  for (int32_t l = 0; l < model.layers; ++l)
    for (const ExpertId expert : hot[l]) at({l}, expert).hot = true;
}

void ExpertAdapter::BeginStep(std::span<const RoutedRow> rows) {
  used_.clear();
  decodes_.clear();
  for (const RoutedRow& row : rows) decodes_.push_back(row.phase == Phase::kDecode);
  step_tokens_ = std::ranges::count(decodes_, 1);
}

void ExpertAdapter::Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
                           View<const float, 2>) {
  if (step_tokens_ == 0) return;
  for (int64_t row = 0; row < expert_ids.dim(0); ++row) {
    if (!decodes_[first_row + row]) continue;
    for (int64_t k = 0; k < expert_ids.dim(1); ++k) {
      const int32_t id = expert_ids(row, k);
      used_.push_back(layer.value * model_.experts + (id < 0 ? ~id : id));
    }
  }
}

void ExpertAdapter::EndStep() {
  if (step_tokens_ == 0) return;
  for (const int32_t expert : used_) experts_[expert].weight += weight_;
  sum_ += weight_ * step_tokens_;
  sum_of_squares_ += weight_ * weight_ * step_tokens_;
  tokens_ += step_tokens_;
  weight_ *= std::pow(growth_, step_tokens_);
  constexpr double kLarge = 1e100;
  if (weight_ < kLarge) return;
  for (Expert& expert : experts_) expert.weight /= kLarge;
  weight_ /= kLarge;
  sum_ /= kLarge;
  sum_of_squares_ /= kLarge * kLarge;
}

double ExpertAdapter::Use(LayerId layer, ExpertId expert) const {
  return sum_ > 0 ? at(layer, expert).weight / sum_ : 0;
}

double ExpertAdapter::Gain(double p_out, double p_in) const {
  return static_cast<double>(options_.horizon_tokens) * (p_in - p_out) * options_.cpu_expert_s;
}

bool ExpertAdapter::Pays(double p_out, double p_in) const {
  const double noise = sum_of_squares_ / (sum_ * sum_);
  return Gain(p_out, p_in) > options_.margin * options_.send_expert_s &&
         p_in > options_.hysteresis * p_out &&
         p_in - p_out > options_.sigmas * std::sqrt((p_in + p_out) * noise);
}

// Appends the swaps that pay in a layer: the least used of the hot experts for the most used of the
// cold ones, and so on.
void ExpertAdapter::ProposeFor(LayerId layer, std::vector<ExpertSwap>& swaps) const {
  struct Use {
    double p;
    int32_t expert;
  };
  std::vector<Use> hot, cold;
  for (int32_t e = 0; e < model_.experts; ++e) {
    const Expert& expert = at(layer, {e});
    if (expert.under_way || expert.settled_until > tokens_) continue;
    (expert.hot ? hot : cold).push_back({expert.weight / sum_, e});
  }
  const size_t most = std::min({hot.size(), cold.size(), static_cast<size_t>(options_.max_swaps)});
  const auto less = [](Use a, Use b) { return a.p != b.p ? a.p < b.p : a.expert < b.expert; };
  const auto more = [](Use a, Use b) { return a.p != b.p ? a.p > b.p : a.expert < b.expert; };
  std::partial_sort(hot.begin(), hot.begin() + most, hot.end(), less);
  std::partial_sort(cold.begin(), cold.begin() + most, cold.end(), more);
  for (size_t i = 0; i < most && Pays(hot[i].p, cold[i].p); ++i)
    swaps.push_back({.layer = layer,
                     .out = {hot[i].expert},
                     .in = {cold[i].expert},
                     .gain_s = Gain(hot[i].p, cold[i].p),
                     .bytes = expert_bytes_});
}

std::vector<ExpertSwap> ExpertAdapter::Propose() {
  next_round_ = tokens_ + options_.interval_tokens;
  std::vector<ExpertSwap> swaps;
  if (tokens_ == 0) return swaps;
  for (int32_t l = model_.dense_layers; l < model_.layers; ++l) ProposeFor({l}, swaps);
  std::ranges::stable_sort(swaps, std::ranges::greater(), &ExpertSwap::gain_s);
  const int64_t by_bytes = expert_bytes_ > 0 ? options_.max_bytes / expert_bytes_ : 0;
  const int64_t most = std::min<int64_t>(options_.max_swaps, by_bytes);
  if (std::ssize(swaps) > most) swaps.resize(most);
  for (const ExpertSwap& swap : swaps)
    at(swap.layer, swap.out).under_way = at(swap.layer, swap.in).under_way = true;
  return swaps;
}

void ExpertAdapter::Done(const ExpertSwap& swap) {
  Expert& out = at(swap.layer, swap.out);
  Expert& in = at(swap.layer, swap.in);
  TANDEM_CHECK(out.hot && !in.hot, "a swap is done once");
  out.hot = false;
  in.hot = true;
  out.settled_until = in.settled_until = tokens_ + options_.dwell_tokens;
  Dropped(swap);
}

void ExpertAdapter::Dropped(const ExpertSwap& swap) {
  at(swap.layer, swap.out).under_way = at(swap.layer, swap.in).under_way = false;
}

}  // namespace tandem
