#include "placement/machine_rates.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tandem {

const ExpertCurve* MachineRates::FindExperts(int32_t hidden, int32_t intermediate) const {
  const auto found = std::ranges::find_if(experts, [&](const ExpertCurve& curve) {
    return curve.hidden == hidden && curve.intermediate == intermediate;
  });
  return found == experts.end() ? nullptr : &*found;
}

const DenseCurve* MachineRates::FindDense(const DenseCurve::Key& key) const {
  const auto found = std::ranges::find(dense, key, &DenseCurve::key);
  return found == dense.end() ? nullptr : &*found;
}

double SecondsFor(const ExpertCurve& curve, double rows) {
  const auto& points = curve.points;
  if (rows <= 0) return 0;
  if (rows <= points[0].rows || points.size() == 1)
    return points[0].seconds * std::max(1.0, rows / points[0].rows);
  size_t i = 1;
  while (i + 1 < points.size() && points[i].rows < rows) ++i;
  const auto &low = points[i - 1], &high = points[i];
  const double slope = (high.seconds - low.seconds) / (high.rows - low.rows);
  return low.seconds + slope * (rows - low.rows);
}

std::string RatesText(const MachineRates& rates) {
  switch (rates.source) {
    case MachineRates::Source::kCalibrated:
      return absl::StrCat("calibrated ", rates.when);
    case MachineRates::Source::kSpecified:
      return "as described";
    case MachineRates::Source::kGuessed:
      return "guessed";
    case MachineRates::Source::kUnknown:
      break;
  }
  return "unknown";
}

}  // namespace tandem
