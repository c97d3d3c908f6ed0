// What the layers of a step take: the wall time of steps, split over the layers and, in each, over
// the dense side and the CPU's experts. Three clock reads per layer and part.
//
// The step's thread notes; any thread may ask for times().
#pragma once

#include <chrono>
#include <mutex>
#include <vector>

#include "core/ids.h"
#include "engine/layer_times.h"

namespace tandem {

class LayerClock {
 public:
  explicit LayerClock(int32_t layers);

  void BeginStep();
  // What passed since the last call was the dense side's work, or waiting for it.
  void EndDense(LayerId layer) { Take(running_.dense_s[layer.value]); }
  // What passed since the last call was the CPU's experts.
  void EndExperts(LayerId layer) { Take(running_.experts_s[layer.value]); }
  // Without it the step does not count: it failed.
  void EndStep(Phase phase);

  LayerTimes times() const;

 private:
  using Clock = std::chrono::steady_clock;
  void Take(double& seconds) {
    const auto now = Clock::now();
    seconds += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }

  Clock::time_point last_;
  LayerTimes::Of running_;  // of the running step
  mutable std::mutex mutex_;
  LayerTimes times_;
};

}  // namespace tandem
