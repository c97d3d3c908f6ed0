// Compares logits with those of the reference.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace tandem::golden {

// The worst |got - want| as a fraction of the reference's logit range, and where it is.
struct Deviation {
  double fraction = 0;
  int64_t index = -1;
  float got = 0, want = 0;
};

// A size that does not agree, or a number that is not finite, is an infinite deviation.
inline Deviation Deviate(std::span<const float> got, std::span<const float> want) {
  if (got.size() != want.size() || want.empty()) return {HUGE_VAL};
  const auto [low, high] = std::minmax_element(want.begin(), want.end());
  const double range = static_cast<double>(*high) - *low;
  Deviation worst;
  for (size_t i = 0; i < want.size(); ++i) {
    const double fraction = std::fabs(static_cast<double>(got[i]) - want[i]) / range;
    if (std::isfinite(fraction) && fraction <= worst.fraction) continue;
    worst = {std::isfinite(fraction) ? fraction : HUGE_VAL, static_cast<int64_t>(i), got[i],
             want[i]};
    if (!std::isfinite(fraction)) break;
  }
  return worst;
}

// All deviations of a run, for a median and the worst.
class Deviations {
 public:
  void Add(double fraction) { all_.push_back(fraction); }
  double worst() const { return all_.empty() ? 0 : *std::max_element(all_.begin(), all_.end()); }
  double median() const {
    if (all_.empty()) return 0;
    std::vector<double> sorted = all_;
    std::nth_element(sorted.begin(), sorted.begin() + sorted.size() / 2, sorted.end());
    return sorted[sorted.size() / 2];
  }
  size_t count() const { return all_.size(); }

 private:
  std::vector<double> all_;
};

}  // namespace tandem::golden
