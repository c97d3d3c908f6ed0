// How many rows of batch work a step may hold, so that who arrives meanwhile, or decodes beside it,
// does not wait longer than a bound for the next step.
//
// What a step takes is predicted from its rows alone, by what the last steps of about so many rows
// took: medians, because a step may be slow by accident, and never slower than more rows were. For
// numbers of rows that nobody has met the prediction is on the safe side, by two rules: more rows
// take longer, but not more than in proportion, since they share the weights that are read for
// them. So the rows of batch work feel their way up to the bound in a few steps. What nobody has
// met for a while is forgotten, lest a slow minute hold batch work down for ever; and at once where
// fewer rows have come to take longer.
//
// Pure: no clock. Used by the engine's thread alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace tandem {

class BatchPace {
 public:
  static constexpr int32_t kUnbounded = std::numeric_limits<int32_t>::max();

  // Rows of batch work beside so many others, in a step of at most so many seconds (0: no bound).
  // At least one where there are no others, however long that takes; none beside others where
  // nothing is known yet, or they take all the time.
  int32_t RowsBeside(int32_t others, double most_step_s) const;
  // What a step took. REQUIRES: rows > 0.
  void Note(int32_t rows, double seconds);

  // Seconds of a step of so many rows, at most; 0: nothing is known.
  double Predict(int32_t rows) const;

  static constexpr int kSamples = 7;           // of a point; its median counts
  static constexpr int64_t kRemembered = 512;  // steps in which a point has to be met again

 private:
  // The last steps of so many rows, half an octave of them.
  struct Point {
    std::array<int32_t, kSamples> rows{};
    std::array<double, kSamples> seconds{};
    int n = 0, next = 0;
    int64_t met = 0;  // number of the last step
    double median_rows = 0, median_s = 0;
  };
  struct Known {
    double rows = 0, seconds = 0;
  };
  static size_t PointOf(int32_t rows);
  void Forget(const Point& latest);
  void UpdateCurve();

  int64_t steps_ = 0;
  std::array<Point, 64> points_;
  // Ascending in both: fewer rows take no longer.
  std::array<Known, 64> curve_;
  int n_curve_ = 0;
};

}  // namespace tandem
