#include "placement/routing_skew.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/status.h"
#include "placement/hit_curve.h"

namespace tandem {
namespace {

double Sum(std::span<const int64_t> hits) {
  return static_cast<double>(std::accumulate(hits.begin(), hits.end(), int64_t{0}));
}

double EntropyTerm(double share) { return share > 0 ? -share * std::log2(share) : 0; }

// Of the `experts` busiest; `sorted` descends.
double TopShare(const std::vector<int64_t>& sorted, double experts, double all) {
  const auto whole = static_cast<size_t>(experts);
  double sum = Sum(std::span(sorted).first(whole));
  if (whole < sorted.size())
    sum += (experts - static_cast<double>(whole)) * static_cast<double>(sorted[whole]);
  return sum / all;
}

}  // namespace

Skew SkewOf(std::span<const int64_t> hits) {
  const auto experts = static_cast<double>(hits.size());
  const double all = Sum(hits);
  Skew skew;
  if (all == 0) {
    skew.entropy_share = 1;
    for (size_t i = 0; i < kTopPercents.size(); ++i) skew.top[i] = kTopPercents[i] / 100.0;
    return skew;
  }
  std::vector<int64_t> sorted(hits.begin(), hits.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double ranked = 0, entropy = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const double share = static_cast<double>(sorted[i]) / all;
    ranked += static_cast<double>(i + 1) * share;
    entropy += EntropyTerm(share);
  }
  skew.gini = (experts + 1 - 2 * ranked) / experts;
  skew.entropy_share = experts > 1 ? entropy / std::log2(experts) : 1;
  for (size_t i = 0; i < kTopPercents.size(); ++i)
    skew.top[i] = TopShare(sorted, experts * kTopPercents[i] / 100, all);
  return skew;
}

std::vector<int32_t> TopCells(std::span<const int64_t> hits, double percent) {
  std::vector<int32_t> cells = RankByFrequency(hits);
  const auto wanted = std::max<size_t>(std::llround(percent / 100 * hits.size()), 1);
  cells.resize(std::min(wanted, cells.size()));
  while (!cells.empty() && hits[cells.back()] == 0) cells.pop_back();
  std::sort(cells.begin(), cells.end());
  return cells;
}

double Jaccard(std::span<const int32_t> a, std::span<const int32_t> b) {
  std::vector<int32_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  const size_t either = a.size() + b.size() - both.size();
  return either == 0 ? 1 : static_cast<double>(both.size()) / static_cast<double>(either);
}

double JaccardOfRandomSets(double percent) {
  const double share = percent / 100;
  return share / (2 - share);
}

double JensenShannon(std::span<const int64_t> a, std::span<const int64_t> b) {
  const double all_a = Sum(a), all_b = Sum(b);
  if (all_a == 0 || all_b == 0) return 0;
  double divergence = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double p = static_cast<double>(a[i]) / all_a, q = static_cast<double>(b[i]) / all_b;
    divergence += EntropyTerm((p + q) / 2) - (EntropyTerm(p) + EntropyTerm(q)) / 2;
  }
  return std::clamp(divergence, 0.0, 1.0);
}

double MeanJensenShannon(std::span<const int64_t> a, std::span<const int64_t> b, int64_t experts) {
  TANDEM_CHECK(a.size() == b.size() && experts > 0, "counts are of one model");
  const int64_t layers = static_cast<int64_t>(a.size()) / experts;
  double sum = 0;
  for (int64_t layer = 0; layer < layers; ++layer)
    sum += JensenShannon(a.subspan(layer * experts, experts), b.subspan(layer * experts, experts));
  return layers == 0 ? 0 : sum / static_cast<double>(layers);
}

double IndependentDistinct(double rows, int64_t experts, int64_t top_k) {
  return static_cast<double>(experts) * IndependentReuse(rows, experts, top_k);
}

double IndependentReuse(double tokens, int64_t experts, int64_t top_k) {
  return 1 - std::pow(1 - static_cast<double>(top_k) / static_cast<double>(experts), tokens);
}

}  // namespace tandem
