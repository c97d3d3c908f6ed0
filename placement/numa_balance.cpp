#include "placement/numa_balance.h"

#include <algorithm>
#include <cmath>

#include "core/sharded_layout.h"
#include "core/status.h"
#include "placement/machine.h"
#include "placement/routing_model.h"

namespace tandem {
namespace {

constexpr int kMostExactBalls = 64;

// Chance that none of `bins` gets more than `limit` of n balls. Bin by bin: in_first[m] is the
// chance that m balls are in the bins so far and none of these is too full; of the others, each
// falls into the next bin with chance 1 / (bins left).
double NoneAbove(int limit, int n, int bins) {
  std::vector<double> left(n + 1, 0.0);  // by balls not yet in a bin
  left[n] = 1;
  for (int bin = 0; bin < bins; ++bin) {
    const double p = 1.0 / (bins - bin);
    std::vector<double> next(n + 1, 0.0);
    for (int m = 0; m <= n; ++m) {
      if (left[m] == 0) continue;
      if (p == 1) {
        if (m <= limit) next[0] += left[m];
        continue;
      }
      double chance = std::pow(1 - p, m);  // of 0 of m in this bin
      for (int in = 0; in <= std::min(limit, m); ++in) {
        next[m - in] += left[m] * chance;
        chance *= p / (1 - p) * (m - in) / (in + 1);
      }
    }
    left = std::move(next);
  }
  return left[0];
}

double ExactFullestBin(int n, int bins) {
  double mean = 0;  // sum over m of the chance that the fullest has more than m
  for (int m = 0; m < n; ++m) mean += 1 - NoneAbove(m, n, bins);
  return mean * bins / n;
}

// Mean of the largest of n standard normals: the integral of 1 - F^n - (1 - F)^n over x >= 0.
double LargestNormal(int n) {
  constexpr double kStep = 1e-2;
  double mean = 0;
  for (double x = kStep / 2; x < 8; x += kStep) {
    const double f = 0.5 * std::erfc(-x / std::sqrt(2.0));
    mean += (1 - std::pow(f, n) - std::pow(1 - f, n)) * kStep;
  }
  return mean;
}

// Experts of a step that are not all different balls: drawn from E without putting back, so the
// more of all experts a step uses, the more even the nodes.
double WholeFactor(const ModelShape& s, int n, int32_t rows) {
  const double distinct = DistinctExperts(s.experts, s.top_k, rows);
  const double excess = FullestBin(std::max(1.0, distinct), n) - 1;
  if (s.experts <= s.top_k) return 1 + excess;
  return 1 + excess * std::sqrt((s.experts - distinct) / (s.experts - s.top_k));
}

double ReplicatedFactor(const ModelShape& s, int n, int32_t rows) {
  const double distinct = DistinctExperts(s.experts, s.top_k, rows);
  const double per_node = DistinctExperts(s.experts, static_cast<double>(s.top_k) / n, rows);
  const int64_t pairs = int64_t{rows} * s.top_k;
  const double rounding = static_cast<double>((pairs + n - 1) / n * n) / static_cast<double>(pairs);
  return per_node * n / distinct * rounding;
}

}  // namespace

double FullestBin(double balls, int bins) {
  TANDEM_CHECK(balls >= 1 && bins >= 1, "some balls in some bins");
  if (bins == 1) return 1;
  if (balls > kMostExactBalls) return 1 + LargestNormal(bins) * std::sqrt(bins / balls);
  const int low = static_cast<int>(balls);
  const double at_low = ExactFullestBin(low, bins);
  if (balls == low) return at_low;
  return at_low + (balls - low) * (ExactFullestBin(low + 1, bins) - at_low);
}

bool Shardable(const ModelShape& s, int n) { return n <= MaxShards(s.expert_intermediate); }

std::vector<double> ShardShares(const ModelShape& s, int n) {
  const std::vector<int64_t> columns = ShardColumns(s.expert_intermediate, n);
  std::vector<double> shares;
  for (int i = 0; i < n; ++i)
    shares.push_back(static_cast<double>(columns[i + 1] - columns[i]) / s.expert_intermediate);
  return shares;
}

double NumaFactor(const ModelShape& s, NumaHome home, std::span<const double> shares,
                  int32_t rows) {
  const int n = static_cast<int>(shares.size());
  if (n <= 1 || s.experts == 0) return 1;
  if (home == NumaHome::kSharded) {
    double factor = 0;
    const std::vector<double> cut = ShardShares(s, n);
    for (int i = 0; i < n; ++i) factor = std::max(factor, cut[i] / shares[i]);
    return factor;
  }
  // The slowest node sets the pace of equal parts.
  const double slowest = 1.0 / (n * *std::ranges::min_element(shares));
  return slowest *
         (home == NumaHome::kWhole ? WholeFactor(s, n, rows) : ReplicatedFactor(s, n, rows));
}

std::vector<int32_t> ComputeNodes(const Machine& machine) {
  std::vector<int32_t> nodes;
  for (int32_t i = 0; i < std::ssize(machine.nodes); ++i)
    if (machine.nodes[i].cores > 0 && machine.nodes[i].memory_bytes > 0) nodes.push_back(i);
  return nodes;
}

}  // namespace tandem
