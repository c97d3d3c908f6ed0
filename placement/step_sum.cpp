#include "placement/step_sum.h"

#include <algorithm>

namespace tandem {

const char* NameOf(Wait wait) {
  constexpr const char* kNames[kWaits] = {"RAM bandwidth",
                                          "CPU arithmetic",
                                          "the disk",
                                          "GPU memory bandwidth",
                                          "GPU arithmetic",
                                          "PCIe",
                                          "handoffs between GPU and CPU",
                                          "the engine's own work"};
  return kNames[static_cast<int>(wait)];
}

StepTime StepSum::Finish() {
  const auto longest = std::ranges::max_element(waits_);
  time_.limit = NameOf(static_cast<Wait>(longest - waits_.begin()));
  return time_;
}

}  // namespace tandem
