#include "bench/expert_skew.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tandem {
namespace {

absl::StatusOr<std::vector<double>> ReadFrequencies(const std::string& path, int32_t experts) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the skew file ", path));
  std::vector<double> frequencies;
  for (double f; file >> f;) {
    if (!(f > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": number ", frequencies.size() + 1, " is ", f, ", must be positive"));
    }
    frequencies.push_back(f);
  }
  if (!file.eof() || static_cast<int32_t>(frequencies.size()) != experts) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": expected ", experts, " numbers, one per expert, found ", frequencies.size()));
  }
  return frequencies;
}

}  // namespace

absl::StatusOr<ExpertSkew> ExpertSkew::Create(const std::string& description, int32_t experts,
                                              std::mt19937_64& random) {
  ExpertSkew skew;
  skew.frequencies_.assign(experts, 1.0);
  absl::string_view rest = description;
  if (description.empty()) return skew;
  if (!absl::ConsumePrefix(&rest, "zipf:")) {
    TANDEM_ASSIGN_OR_RETURN(skew.frequencies_, ReadFrequencies(description, experts));
    return skew;
  }
  double exponent = 0;
  if (!absl::SimpleAtod(rest, &exponent) || !(exponent >= 0 && exponent <= 10)) {
    return absl::InvalidArgumentError(
        absl::StrCat("skew \"", description, "\": expected zipf:S with S from 0 to 10"));
  }
  for (int32_t e = 0; e < experts; ++e) skew.frequencies_[e] = std::pow(e + 1.0, -exponent);
  std::shuffle(skew.frequencies_.begin(), skew.frequencies_.end(), random);
  return skew;
}

// Weighted sampling without replacement: the smallest of exponential times with these rates
// (Efraimidis and Spirakis, 2006).
void ExpertSkew::Draw(int32_t top_k, std::mt19937_64& random, std::vector<int32_t>& ids) const {
  std::exponential_distribution<double> exponential;
  std::vector<std::pair<double, int32_t>> times;
  for (size_t e = 0; e < frequencies_.size(); ++e)
    times.emplace_back(exponential(random) / frequencies_[e], static_cast<int32_t>(e));
  std::partial_sort(times.begin(), times.begin() + top_k, times.end());
  for (int32_t k = 0; k < top_k; ++k) ids.push_back(times[k].second);
}

}  // namespace tandem
