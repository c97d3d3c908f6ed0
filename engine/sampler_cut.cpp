#include "engine/sampler_cut.h"

#include <algorithm>
#include <array>
#include <vector>

namespace tandem {
namespace {

constexpr int kBuckets = 512;

// Bucket 0 holds the largest logits. Monotone, rounding included: no larger logit lies in a later
// bucket.
class Buckets {
 public:
  explicit Buckets(const LogitRange& range)
      : max_(range.max), scale_(range.max > range.min ? kBuckets / (range.max - range.min) : 0) {}
  int operator()(float x) const {
    return std::min(static_cast<int>((max_ - x) * scale_), kBuckets - 1);
  }

 private:
  float max_, scale_;
};

// The first token, in cut order, at which the running sum of `value` over all tokens up to and with
// it is `target` or more.
template <class Value>
Cut CutWhere(std::span<const float> logits, const LogitRange& range, double target,
             const Value& value) {
  const Buckets bucket_of(range);
  std::array<double, kBuckets> sums{};
  const int32_t n = static_cast<int32_t>(logits.size());
  for (int32_t i = 0; i < n; ++i) sums[bucket_of(logits[i])] += value(i);

  int bucket = 0;
  double before = 0;
  while (bucket < kBuckets - 1 && before + sums[bucket] < target) before += sums[bucket++];

  std::vector<Cut> inside;
  for (int32_t i = 0; i < n; ++i)
    if (bucket_of(logits[i]) == bucket && value(i) > 0) inside.push_back({logits[i], i});
  std::sort(inside.begin(), inside.end(), [](const Cut& a, const Cut& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  });
  for (const Cut& token : inside)
    if ((before += value(token.id)) >= target) return token;
  // Rounding can leave the sum a hair short of a target of everything: then nothing is cut.
  return inside.empty() ? Cut{range.min} : inside.back();
}

}  // namespace

Cut CutAtCount(std::span<const float> logits, const LogitRange& range, int64_t count) {
  return CutWhere(logits, range, static_cast<double>(count), [](int32_t) { return 1.0; });
}

Cut CutAtMass(std::span<const float> logits, std::span<const float> weights,
              const LogitRange& range, double mass) {
  return CutWhere(logits, range, mass, [&](int32_t i) { return double{weights[i]}; });
}

void DropBehind(const Cut& cut, std::span<const float> logits, std::span<float> weights) {
  const int32_t n = static_cast<int32_t>(logits.size());
  for (int32_t i = 0; i < n; ++i) weights[i] = cut.Keeps(logits[i], i) ? weights[i] : 0.0f;
}

}  // namespace tandem
