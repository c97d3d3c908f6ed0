#include "engine/sampler_cut.h"

#include <algorithm>
#include <array>

namespace tandem {
namespace {

constexpr int kBuckets = 512;

}  // namespace

void CutFinder::Reset(std::span<const float> logits, const LogitRange& range) {
  logits_ = logits;
  min_ = range.min;
  bucket_of_.resize(logits.size());
  // Monotone, rounding included: no larger logit lies in a later bucket.
  const float scale = range.max > range.min ? kBuckets / (range.max - range.min) : 0;
  const float* x = logits.data();
  int32_t* bucket = bucket_of_.data();
  const size_t n = logits.size();
  for (size_t i = 0; i < n; ++i) {
    const int32_t b = static_cast<int32_t>((range.max - x[i]) * scale);
    bucket[i] = b < kBuckets - 1 ? b : kBuckets - 1;
  }
}

// The first token, in cut order, at which the running sum of `value` over all tokens up to and with
// it is `target` or more.
template <class Value>
Cut CutFinder::Where(double target, const Value& value) const {
  // Four histograms in turn: neighbours often share a bucket, and one addition would wait for the
  // other.
  std::array<std::array<double, kBuckets>, 4> sums{};
  const int32_t n = static_cast<int32_t>(logits_.size());
  for (int32_t i = 0; i < n; ++i) sums[i % 4][bucket_of_[i]] += value(i);
  const auto sum = [&](int b) { return (sums[0][b] + sums[1][b]) + (sums[2][b] + sums[3][b]); };

  int bucket = 0;
  double before = 0;
  while (bucket < kBuckets - 1 && before + sum(bucket) < target) before += sum(bucket++);

  std::vector<Cut> inside;
  for (int32_t i = 0; i < n; ++i)
    if (bucket_of_[i] == bucket && value(i) > 0) inside.push_back({logits_[i], i});
  std::sort(inside.begin(), inside.end(), [](const Cut& a, const Cut& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  });
  for (const Cut& token : inside)
    if ((before += value(token.id)) >= target) return token;
  // Rounding can leave the sum a hair short of a target of everything: then nothing is cut.
  return inside.empty() ? Cut{min_} : inside.back();
}

Cut CutFinder::AtCount(int64_t count) const {
  return Where(static_cast<double>(count), [](int32_t) { return 1.0; });
}

Cut CutFinder::AtMass(std::span<const float> weights, double mass) const {
  return Where(mass, [&](int32_t i) { return double{weights[i]}; });
}

void DropBehind(const Cut& cut, std::span<const float> logits, std::span<float> weights) {
  const int32_t n = static_cast<int32_t>(logits.size());
  for (int32_t i = 0; i < n; ++i) weights[i] = cut.Keeps(logits[i], i) ? weights[i] : 0.0f;
}

}  // namespace tandem
