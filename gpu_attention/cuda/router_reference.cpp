#include "gpu_attention/cuda/router_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace tandem {
namespace {

constexpr double kOut = -std::numeric_limits<double>::infinity();

// 0 .. n-1 by descending value, the lower index first among equals.
std::vector<int32_t> Ranking(const std::vector<double>& values) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  return order;
}

void KeepBestGroups(const RouterReferenceArgs& args, double* choice) {
  const int32_t size = args.experts / args.expert_groups;
  std::vector<double> claims;
  for (int32_t g = 0; g < args.expert_groups; ++g) {
    std::vector<double> group(choice + g * size, choice + (g + 1) * size);
    std::sort(group.rbegin(), group.rend());
    claims.push_back(size > 1 ? group[0] + group[1] : group[0]);
  }
  const std::vector<int32_t> order = Ranking(claims);
  for (int32_t i = args.top_k_groups; i < args.expert_groups; ++i) {
    std::fill_n(choice + order[i] * size, size, kOut);
  }
}

}  // namespace

void RouterReference(const RouterReferenceArgs& args) {
  for (int64_t t = 0; t < args.tokens; ++t) {
    double* score = args.score + t * args.experts;
    double* choice = args.choice + t * args.experts;
    for (int64_t e = 0; e < args.experts; ++e) {
      double logit = 0;
      for (int64_t i = 0; i < args.hidden; ++i) {
        logit += double{ToFloat(args.x[t * args.hidden + i])} * args.gate[e * args.hidden + i];
      }
      score[e] = 1.0 / (1.0 + std::exp(-logit));
      choice[e] = score[e] + args.bias[e];
    }
    if (args.expert_groups > 1) KeepBestGroups(args, choice);
    const std::vector<int32_t> order = Ranking(std::vector<double>(choice, choice + args.experts));
    double sum = 0;
    for (int32_t k = 0; k < args.top_k; ++k) sum += score[order[k]];
    const double factor = (args.norm_top_k ? 1.0 / (sum + 1e-20) : 1.0) * args.routed_scaling;
    for (int32_t k = 0; k < args.top_k; ++k) {
      args.expert_ids[t * args.top_k + k] = order[k];
      args.weights[t * args.top_k + k] = score[order[k]] * factor;
    }
  }
}

}  // namespace tandem
