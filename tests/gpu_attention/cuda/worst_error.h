// Comparison of a tensor with what it should be: the worst element decides.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tandem {

// Empty if |got - want| <= absolute + relative * |want| everywhere, else the worst place. NaN is
// never near anything.
inline std::string WorstError(const std::vector<float>& got, const std::vector<float>& want,
                              float relative, float absolute) {
  if (got.size() != want.size())
    return absl::StrCat(got.size(), " elements, expected ", want.size());
  double worst = 1;
  int64_t at = -1;
  for (size_t i = 0; i < got.size(); ++i) {
    const double allowed = absolute + double{relative} * std::fabs(want[i]);
    const double error = std::fabs(double{got[i]} - want[i]) / allowed;
    if (error <= worst) continue;  // false for NaN
    at = static_cast<int64_t>(i);
    if (std::isnan(error)) break;
    worst = error;
  }
  if (at < 0) return "";
  return absl::StrCat("element ", at, " of ", got.size(), " is ", got[at], ", expected ", want[at],
                      ": ", worst, " times what is allowed");
}

// Rounding to BF16, either way.
constexpr float kBf16Step = 1.0f / 128;

}  // namespace tandem
