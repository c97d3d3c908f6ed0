#include "engine/batch_pace.h"

#include <algorithm>
#include <bit>
#include <span>

namespace tandem {
namespace {

template <class T>
double Median(std::array<T, BatchPace::kSamples> values, int n) {
  const auto middle = values.begin() + n / 2;
  std::nth_element(values.begin(), middle, values.begin() + n);
  return static_cast<double>(*middle);
}

}  // namespace

size_t BatchPace::PointOf(int32_t rows) {
  const auto n = static_cast<uint32_t>(rows);
  const int octave = std::bit_width(n) - 1;
  const bool upper_half = octave > 0 && (n >> (octave - 1) & 1) != 0;
  return 2 * static_cast<size_t>(octave) + upper_half;
}

void BatchPace::Note(int32_t rows, double seconds) {
  Point& point = points_[PointOf(rows)];
  point.rows[point.next] = rows;
  point.seconds[point.next] = seconds;
  point.next = (point.next + 1) % kSamples;
  point.n = std::min(point.n + 1, kSamples);
  point.met = ++steps_;
  point.median_rows = Median(point.rows, point.n);
  point.median_s = Median(point.seconds, point.n);
  Forget(point);
  UpdateCurve();
}

void BatchPace::Forget(const Point& latest) {
  for (Point& old : points_) {
    const bool faster_with_more_rows =
        &old > &latest && old.n > 0 && old.median_s < latest.median_s;
    const bool outdated = latest.n > kSamples / 2 && old.met + kSamples / 2 < latest.met;
    const bool too_old = old.met + kRemembered < steps_;
    if (too_old || (faster_with_more_rows && outdated)) old = {};
  }
}

void BatchPace::UpdateCurve() {
  n_curve_ = 0;
  for (const Point& point : points_)
    if (point.n > 0) curve_[n_curve_++] = {point.median_rows, point.median_s};
  for (int i = n_curve_ - 2; i >= 0; --i)
    curve_[i].seconds = std::min(curve_[i].seconds, curve_[i + 1].seconds);
}

double BatchPace::Predict(int32_t rows) const {
  if (n_curve_ == 0) return 0;
  const std::span<const Known> curve(curve_.data(), n_curve_);
  const auto above = std::ranges::lower_bound(curve, static_cast<double>(rows), {}, &Known::rows);
  if (above == curve.begin()) return above->seconds;
  const Known& below = *(above - 1);
  const double in_proportion = below.seconds * rows / below.rows;
  if (above == curve.end()) return in_proportion;
  const double share = (rows - below.rows) / (above->rows - below.rows);
  const double between = below.seconds + share * (above->seconds - below.seconds);
  return std::max(between, std::min(in_proportion, above->seconds));
}

int32_t BatchPace::RowsBeside(int32_t others, double most_step_s) const {
  if (most_step_s == 0) return kUnbounded;
  const int32_t least = others == 0 ? 1 : 0;
  if (n_curve_ == 0) return least;
  constexpr int32_t kMostRows = 1 << 20;
  int32_t fits = 0, too_many = kMostRows;  // time ascends with rows
  while (too_many - fits > 1) {
    const int32_t middle = (fits + too_many) / 2;
    (Predict(others + middle) <= most_step_s ? fits : too_many) = middle;
  }
  return std::max(fits, least);
}

}  // namespace tandem
