#include "engine/layer_clock.h"

#include <algorithm>

namespace tandem {
namespace {

// A new step's share of the average: the last thirty or so count.
constexpr double kSmoothing = 0.06;

void Mix(const std::vector<double>& step, bool first, std::vector<double>& average) {
  for (size_t i = 0; i < step.size(); ++i)
    average[i] += (first ? 1.0 : kSmoothing) * (step[i] - average[i]);
}

LayerTimes::Of Zeros(int32_t layers) {
  return {0, std::vector<double>(layers), std::vector<double>(layers)};
}

}  // namespace

LayerClock::LayerClock(int32_t layers) : running_(Zeros(layers)) {
  times_.by_phase.fill(Zeros(layers));
}

void LayerClock::BeginStep() {
  std::ranges::fill(running_.dense_s, 0.0);
  std::ranges::fill(running_.experts_s, 0.0);
  last_ = Clock::now();
}

void LayerClock::EndStep(Phase phase) {
  std::lock_guard lock(mutex_);
  LayerTimes::Of& times = times_.by_phase[static_cast<size_t>(phase)];
  Mix(running_.dense_s, times.steps == 0, times.dense_s);
  Mix(running_.experts_s, times.steps == 0, times.experts_s);
  ++times.steps;
}

LayerTimes LayerClock::times() const {
  std::lock_guard lock(mutex_);
  return times_;
}

}  // namespace tandem
