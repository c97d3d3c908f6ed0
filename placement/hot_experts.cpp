#include "placement/hot_experts.h"

#include <algorithm>
#include <numeric>
#include <queue>

namespace tandem {
namespace {

class Layer {
 public:
  Layer(int32_t index, const CostModel& costs, const RoutingModel& decode, int32_t batch,
        const std::vector<double>& seconds)
      : index_(index) {
    const int32_t experts = decode.experts();
    order_.resize(experts);
    std::iota(order_.begin(), order_.end(), 0);
    std::ranges::stable_sort(order_, [&](int32_t a, int32_t b) {
      return decode.Probability(index, a) > decode.Probability(index, b);
    });
    for (const int32_t e : order_) {
      cpu_s_.push_back(seconds[static_cast<size_t>(index) * experts + e]);
      gpu_s_.push_back(costs.experts().GpuSeconds(decode.Probability(index, e), batch));
    }
    cpu_side_s_ = std::accumulate(cpu_s_.begin(), cpu_s_.end(), costs.experts().CallSeconds());
    gpu_side_s_ = costs.dense().Shared(batch).s;
  }

  bool empty() const { return next_ == std::ssize(order_); }
  int32_t index() const { return index_; }
  int32_t taken() const { return next_; }

  // What the next one would save.
  double Gain() const {
    const double cpu_s = cpu_side_s_ - cpu_s_[next_], gpu_s = gpu_side_s_ + gpu_s_[next_];
    if (cpu_s >= gpu_s) return cpu_s_[next_];
    return std::max(cpu_side_s_, gpu_side_s_) - gpu_s;
  }
  HotPick Take() {
    const HotPick pick = {index_, order_[next_], Gain()};
    cpu_side_s_ -= cpu_s_[next_];
    gpu_side_s_ += gpu_s_[next_];
    ++next_;
    return pick;
  }

 private:
  int32_t index_, next_ = 0;
  std::vector<int32_t> order_;  // by falling use
  std::vector<double> cpu_s_, gpu_s_;
  double cpu_side_s_ = 0, gpu_side_s_ = 0;
};

struct Offer {
  double gain_s;
  int32_t taken, layer;
  bool operator<(const Offer& other) const {  // the largest is served first
    if (gain_s != other.gain_s) return gain_s < other.gain_s;
    if (taken != other.taken) return taken > other.taken;
    return layer > other.layer;
  }
};

}  // namespace

std::vector<HotPick> OrderHotExperts(const ModelShape& shape, const CostModel& costs,
                                     const RoutingModel& decode, int32_t batch) {
  const std::vector<double> seconds = costs.experts().ExpectedCpuSeconds(decode, batch);
  std::vector<Layer> layers;
  std::priority_queue<Offer> offers;
  for (int32_t l = 0; l < shape.moe_layers(); ++l) {
    layers.emplace_back(l, costs, decode, batch, seconds);
    offers.push({layers[l].Gain(), 0, l});
  }
  std::vector<HotPick> picks;
  picks.reserve(seconds.size());
  while (!offers.empty()) {
    Layer& layer = layers[offers.top().layer];
    offers.pop();
    picks.push_back(layer.Take());
    if (!layer.empty()) offers.push({layer.Gain(), layer.taken(), layer.index()});
  }
  return picks;
}

std::vector<HotPick> OrderByUse(const ModelShape& shape, const RoutingModel& decode) {
  std::vector<HotPick> order;
  for (int32_t e = shape.experts - 1; e >= 0; --e)
    for (int32_t layer = 0; layer < shape.moe_layers(); ++layer) order.push_back({layer, e, 0});
  std::ranges::stable_sort(order, [&](const HotPick& a, const HotPick& b) {
    return decode.Probability(a.moe_layer, a.expert) < decode.Probability(b.moe_layer, b.expert);
  });
  return order;
}

}  // namespace tandem
