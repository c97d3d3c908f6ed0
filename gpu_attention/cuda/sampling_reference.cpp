#include "gpu_attention/cuda/sampling_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace tandem {
namespace {

// Sorts everything; how many of the first tokens the cuts keep.
size_t Kept(const std::vector<double>& weights, const std::vector<int32_t>& order,
            const RowSampling& how) {
  size_t kept = order.size();
  if (how.top_k > 0) kept = std::min<size_t>(kept, how.top_k);
  if (how.top_p < 1) {
    double sum = 0, run = 0;
    for (size_t i = 0; i < kept; ++i) sum += weights[order[i]];
    size_t n = 0;
    while (n < kept && (n == 0 || run < how.top_p * sum)) run += weights[order[n++]];
    kept = n;
  }
  size_t likely = 0;
  while (likely < kept && weights[order[likely]] >= how.min_p) ++likely;
  return std::max<size_t>(1, likely);
}

int32_t Draw(const float* logits, int32_t vocab, const RowSampling& how) {
  std::vector<int32_t> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (how.temperature < 1e-5f) return order[0];
  std::vector<double> weights(vocab);
  for (int32_t i = 0; i < vocab; ++i)
    weights[i] = std::exp((double{logits[i]} - logits[order[0]]) / how.temperature);
  order.resize(Kept(weights, order, how));
  std::sort(order.begin(), order.end());
  double left = 0;
  for (int32_t id : order) left += weights[id];
  left *= how.uniform;
  for (int32_t id : order)
    if ((left -= weights[id]) < 0) return id;
  return order.back();
}

}  // namespace

SampledToken SampleReference(const float* logits, int32_t vocab, const RowSampling& how) {
  if (std::any_of(logits, logits + vocab, [](float x) { return !std::isfinite(x); })) return {};
  const double max = *std::max_element(logits, logits + vocab);
  double sum = 0;
  for (int32_t i = 0; i < vocab; ++i) sum += std::exp(logits[i] - max);
  const int32_t id = Draw(logits, vocab, how);
  return {id, static_cast<float>(logits[id] - max - std::log(sum))};
}

}  // namespace tandem
