#include "engine/log_softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kBlock = 1024;  // summed in float, the blocks in double

// e^x for x <= 0: x = n ln2 + r, |r| <= ln2 / 2, a Taylor polynomial in r, and n into the exponent.
// Branch-free, so that loops over it vectorise.
[[gnu::always_inline]] inline float FastExp(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x < -86.0f ? -86.0f : x;
  const float n = (clamped * 1.44269504f + kRound) - kRound;
  const float r = (clamped - n * 0.693145752f) - n * 1.42860677e-6f;  // ln2 in two parts
  float p = 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
  const float value = p * std::bit_cast<float>(exponent);
  return x < -86.0f ? 0.0f : value;
}

// weights[i] = e^((logits[i] - max) * scale). One plain loop: GCC vectorises it.
void ExpInto(const float* logits, size_t n, float max, float scale, float* weights) {
  for (size_t i = 0; i < n; ++i) weights[i] = FastExp((logits[i] - max) * scale);
}

// Independent float sums, so that the additions of one block need not wait for each other.
float LaneSum(const float* values, size_t n) {
  std::array<float, kLanes> lanes{};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += values[i + j];
  for (; i < n; ++i) lanes[0] += values[i];
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

}  // namespace

absl::StatusOr<LogitRange> FiniteRange(std::span<const float> logits) {
  std::array<float, kLanes> low, high, zero{};
  low.fill(logits[0]);
  high.fill(logits[0]);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float x = logits[i + j];
      low[j] = x < low[j] ? x : low[j];
      high[j] = x > high[j] ? x : high[j];
      zero[j] += x * 0.0f;  // turns NaN at the first NaN or infinity
    }
  }
  for (; i < logits.size(); ++i) {
    low[0] = std::min(low[0], logits[i]);
    high[0] = std::max(high[0], logits[i]);
    zero[0] += logits[i] * 0.0f;
  }
  float all_zero = 0;
  for (float z : zero) all_zero += z;
  if (all_zero != 0.0f) {
    const auto bad =
        std::find_if(logits.begin(), logits.end(), [](float x) { return !std::isfinite(x); });
    return absl::InternalError(absl::StrCat("the model's logit of token ", bad - logits.begin(),
                                            " is not finite: ", *bad));
  }
  return LogitRange{*std::min_element(low.begin(), low.end()),
                    *std::max_element(high.begin(), high.end())};
}

int32_t ArgMax(std::span<const float> logits, float max) {
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), max) - logits.begin());
}

double ExpWeights(std::span<const float> logits, float max, float scale, std::span<float> weights) {
  ExpInto(logits.data(), logits.size(), max, scale, weights.data());
  return Sum(weights);
}

double Sum(std::span<const float> values) {
  double sum = 0;
  for (size_t begin = 0; begin < values.size(); begin += kBlock)
    sum += LaneSum(values.data() + begin, std::min(kBlock, values.size() - begin));
  return sum;
}

double LogSumExp(std::span<const float> logits, float max) {
  std::array<float, kBlock> weights;
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, logits.size() - begin);
    ExpInto(logits.data() + begin, n, max, 1.0f, weights.data());
    sum += LaneSum(weights.data(), n);
  }
  return max + std::log(sum);
}

std::vector<TopLogprob> TopTokens(std::span<const float> logits, double log_sum_exp, int32_t n) {
  std::vector<TopLogprob> top;  // of raw logits until the end
  const size_t wanted = std::min<size_t>(n, logits.size());
  if (wanted == 0) return top;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (top.size() == wanted) {
      if (logits[i] <= top.back().logprob) continue;
      top.pop_back();
    }
    // Behind all that are at least as large: those came first, so have lower ids.
    const auto place = std::find_if(top.begin(), top.end(),
                                    [&](const TopLogprob& t) { return t.logprob < logits[i]; });
    top.insert(place, {static_cast<int32_t>(i), logits[i]});
  }
  for (TopLogprob& t : top) t.logprob = static_cast<float>(t.logprob - log_sum_exp);
  return top;
}

}  // namespace tandem
