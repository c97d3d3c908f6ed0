// What the parts of a calibration share: timing, and what is made of repeated timings.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/status.h"

namespace tandem {

using CalibrationClock = std::chrono::steady_clock;

inline double SecondsSince(CalibrationClock::time_point begin) {
  return std::chrono::duration<double>(CalibrationClock::now() - begin).count();
}

// Seconds that `work` takes.
template <class Work>
double TimeOf(Work&& work) {
  const auto begin = CalibrationClock::now();
  work();
  return SecondsSince(begin);
}

// Seconds of one thing, measured several times.
class Samples {
 public:
  void Add(double seconds) { seconds_.push_back(seconds); }
  bool empty() const { return seconds_.empty(); }
  // The median, of those that took less than twice the fastest: the others were interrupted. 0 if
  // there are none.
  double Typical() const {
    if (seconds_.empty()) return 0;
    std::vector<double> sorted = seconds_;
    std::ranges::sort(sorted);
    const auto end = std::ranges::upper_bound(sorted, 2 * sorted.front());
    return sorted[static_cast<size_t>(end - sorted.begin()) / 2];
  }

 private:
  std::vector<double> seconds_;
};

// How often the points of a curve are run: in rounds over all points, so that each is seen at
// several moments. A short one is run several times in a row, the first time only to bring into the
// caches what an engine's step would find there from the step before.
class Rounds {
 public:
  // `seconds`: what a point may take in all. Every point is run once at least.
  explicit Rounds(double seconds) : seconds_(seconds) {}

  static constexpr int kMost = 12;
  // run() measures and returns the seconds that it took, keep() takes down what it measured last.
  // `one_run_s`: what a run took last time, 0 at first.
  template <class Run, class Keep>
  absl::Status Visit(int round, double& one_run_s, Run&& run, Keep&& keep) const {
    const int before = Repeats(one_run_s);
    if (round > 0 && (round + 1) * one_run_s * before > seconds_) return absl::OkStatus();
    if (round == 0 || one_run_s < kShort) {
      TANDEM_ASSIGN_OR_RETURN(one_run_s, run());
      if (one_run_s > kShort) {
        keep();
        return absl::OkStatus();
      }
    }
    for (int i = 0; i < Repeats(one_run_s); ++i) {
      TANDEM_ASSIGN_OR_RETURN(one_run_s, run());
      keep();
    }
    return absl::OkStatus();
  }

 private:
  static constexpr double kShort = 0.05;
  static int Repeats(double one_run_s) {
    return static_cast<int>(std::clamp(0.4 * kShort / std::max(one_run_s, 1e-9), 1.0, 10.0));
  }

  double seconds_;
};

// Replaces values that fall by the means of their neighbours, so that more rows never take less
// time (pool adjacent violators).
inline void MakeAscending(std::vector<double>& values) {
  struct Pool {
    double sum;
    size_t n;
    double mean() const { return sum / static_cast<double>(n); }
  };
  std::vector<Pool> pools;
  for (const double value : values) {
    pools.push_back({value, 1});
    while (pools.size() > 1 && pools.back().mean() < pools[pools.size() - 2].mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().sum += last.sum, pools.back().n += last.n;
    }
  }
  size_t i = 0;
  for (const Pool& pool : pools)
    for (size_t k = 0; k < pool.n; ++k) values[i++] = pool.mean();
}

}  // namespace tandem
