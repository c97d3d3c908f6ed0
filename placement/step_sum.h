// Adds up a step, and what it waits for. Private to the cost model.
#pragma once

#include <array>

#include "placement/dense_costs.h"
#include "placement/plan.h"

namespace tandem {

enum class Wait {
  kRamBandwidth,
  kCpuArithmetic,
  kDisk,
  kGpuBandwidth,
  kGpuArithmetic,
  kPcie,
  kHandoff,
  kEngine,
};
inline constexpr int kWaits = 8;
const char* NameOf(Wait wait);

class StepSum {
 public:
  explicit StepSum(bool gpu) : gpu_(gpu) {}

  // Nothing else goes on meanwhile: `part` and the total grow.
  void Add(double StepTime::*part, double s, Wait wait) {
    time_.*part += s;
    Await(s, wait);
  }
  // Of the dense side.
  void Add(double StepTime::*part, const Work& work, double times = 1) {
    Add(part, work.s * times, WaitOf(work));
  }
  // Time of several sides: only the total grows.
  void Await(double s, Wait wait) {
    time_.total_s += s;
    waits_[static_cast<int>(wait)] += s;
  }
  Wait WaitOf(const Work& work) const {
    if (gpu_) return work.memory_bound ? Wait::kGpuBandwidth : Wait::kGpuArithmetic;
    return work.memory_bound ? Wait::kRamBandwidth : Wait::kCpuArithmetic;
  }
  StepTime& time() { return time_; }
  // With `limit` set: what most of the total was waited for.
  StepTime Finish();

 private:
  const bool gpu_;
  StepTime time_;
  std::array<double, kWaits> waits_{};
};

}  // namespace tandem
