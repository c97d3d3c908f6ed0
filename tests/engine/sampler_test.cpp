#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Draws from these logits with steps 0, 1, 2, ...
std::vector<int32_t> DrawMany(const std::vector<float>& logits, const SamplingParams& params,
                              int draws, uint64_t seed = 1) {
  Sampler sampler(static_cast<int32_t>(logits.size()));
  const TokenHistory history(params, {});
  std::vector<int32_t> ids;
  for (int step = 0; step < draws; ++step)
    ids.push_back(sampler.Sample(logits, params, history, seed, step)->id);
  return ids;
}

std::set<int32_t> Support(const std::vector<float>& logits, const SamplingParams& params,
                          int draws = 4000) {
  const std::vector<int32_t> ids = DrawMany(logits, params, draws);
  return {ids.begin(), ids.end()};
}

// The specification, in doubles and with a full sort: probability of each token.
std::vector<double> Distribution(const std::vector<float>& logits, const SamplingParams& params) {
  const size_t n = logits.size();
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  std::vector<double> p(n);
  for (size_t i = 0; i < n; ++i)
    p[i] = std::exp((double{logits[i]} - logits[order[0]]) / params.temperature);
  if (params.top_k > 0)
    for (size_t rank = params.top_k; rank < n; ++rank) p[order[rank]] = 0;
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  double before = 0;
  for (int32_t id : order) {
    const double mine = p[id];
    if (before >= params.top_p * total || mine < params.min_p * p[order[0]]) p[id] = 0;
    before += mine;
  }
  const double kept = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= kept;
  return p;
}

// Chi-square of the draws against the distribution; tokens expected under 5 times are pooled. The
// 99.99 % point of chi-square with f degrees of freedom is about f + 3.72 sqrt(2 f) + 9.
void ExpectDistribution(const std::vector<float>& logits, const SamplingParams& params, int draws,
                        uint64_t seed) {
  const std::vector<double> p = Distribution(logits, params);
  std::vector<int> counts(logits.size(), 0);
  for (int32_t id : DrawMany(logits, params, draws, seed)) ++counts[id];
  double chi = 0, pooled_expected = 0, pooled_count = 0;
  int cells = 0;
  const auto add = [&](double expected, double count) {
    chi += (count - expected) * (count - expected) / expected;
    ++cells;
  };
  for (size_t i = 0; i < p.size(); ++i) {
    ASSERT_TRUE(p[i] > 0 || counts[i] == 0) << "token " << i << " is filtered out, seed " << seed;
    const double expected = p[i] * draws;
    if (expected >= 5) {
      add(expected, counts[i]);
    } else {
      pooled_expected += expected;
      pooled_count += counts[i];
    }
  }
  if (pooled_expected >= 5) add(pooled_expected, pooled_count);
  const double freedom = cells - 1;
  EXPECT_LT(chi, freedom + 3.72 * std::sqrt(2 * freedom) + 9) << cells << " cells, seed " << seed;
}

std::vector<float> RandomLogits(int n, float spread, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(n);
  for (float& x : logits) x = normal(random);
  return logits;
}

TEST(Sampler, GreedyTakesTheLowestIndexOfEquals) {
  EXPECT_THAT(DrawMany({1, 3, 2, 3, 3}, {.temperature = 0}, 2), ElementsAre(1, 1));
  std::vector<float> last(1000, -5);
  last[999] = -4;
  EXPECT_THAT(DrawMany(last, {.temperature = 0}, 1), ElementsAre(999));
}

TEST(Sampler, DrawsFollowTheModelsDistribution) {
  for (int n : {2, 7, 300, 5000}) ExpectDistribution(RandomLogits(n, 2, n), {}, 40000, 100 + n);
}

TEST(Sampler, DrawsFollowTheFilteredDistribution) {
  const std::vector<float> logits = RandomLogits(1100, 2.5, 5);
  ExpectDistribution(logits, {.temperature = 0.6f}, 20000, 1);
  ExpectDistribution(logits, {.temperature = 1.7f, .top_p = 0.8f}, 20000, 2);
  ExpectDistribution(logits, {.top_k = 40}, 20000, 3);
  ExpectDistribution(logits, {.min_p = 0.05f}, 20000, 4);
  ExpectDistribution(logits, {.top_p = 0.7f, .top_k = 50}, 20000, 5);
  ExpectDistribution(logits, {.temperature = 2, .top_p = 0.9f, .top_k = 200, .min_p = 0.01f}, 20000,
                     6);
}

TEST(Sampler, AComparatorThatCannotFailIsNoTest) {
  // The same check against draws of another temperature must fail.
  const std::vector<float> logits = RandomLogits(50, 2, 3);
  const std::vector<double> p = Distribution(logits, {});
  std::vector<int> counts(50, 0);
  for (int32_t id : DrawMany(logits, {.temperature = 1.1f}, 40000)) ++counts[id];
  double chi = 0;
  for (int i = 0; i < 50; ++i) chi += std::pow(counts[i] - 40000 * p[i], 2) / (40000 * p[i]);
  EXPECT_GT(chi, 49 + 3.72 * std::sqrt(98.0) + 9);
}

TEST(Sampler, TopKAtItsEdges) {
  const std::vector<float> logits = {0, 1, 1, 1, -1};
  EXPECT_THAT(Support(logits, {.top_k = 1}), ElementsAre(1));
  EXPECT_THAT(Support(logits, {.top_k = 2}), ElementsAre(1, 2));  // lower id first among equals
  EXPECT_THAT(Support(logits, {.top_k = 5}), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(Support(logits, {.top_k = 1000}), ElementsAre(0, 1, 2, 3, 4));
}

TEST(Sampler, TopPAtItsEdges) {
  // Probabilities 0.5, 0.25, 0.125, 0.125.
  const std::vector<float> logits = {0, -std::log(2.0f), -std::log(4.0f), -std::log(4.0f)};
  EXPECT_THAT(Support(logits, {.top_p = 1e-9f}), ElementsAre(0));
  EXPECT_THAT(Support(logits, {.top_p = 0.499f}), ElementsAre(0));
  EXPECT_THAT(Support(logits, {.top_p = 0.501f}), ElementsAre(0, 1));  // the crossing one stays
  EXPECT_THAT(Support(logits, {.top_p = 0.76f}), ElementsAre(0, 1, 2));
  EXPECT_THAT(Support(logits, {.top_p = 1}), ElementsAre(0, 1, 2, 3));
  // After top_k = 2 the probabilities are 2/3 and 1/3.
  EXPECT_THAT(Support(logits, {.top_p = 0.66f, .top_k = 2}), ElementsAre(0));
  EXPECT_THAT(Support(logits, {.top_p = 0.68f, .top_k = 2}), ElementsAre(0, 1));
}

TEST(Sampler, MinPAtItsEdges) {
  const std::vector<float> logits = {0, -std::log(2.0f), -std::log(4.0f), 0};
  EXPECT_THAT(Support(logits, {.min_p = 1}), ElementsAre(0, 3));
  EXPECT_THAT(Support(logits, {.min_p = 0.51f}), ElementsAre(0, 3));
  EXPECT_THAT(Support(logits, {.min_p = 0.49f}), ElementsAre(0, 1, 3));
  EXPECT_THAT(Support(logits, {.min_p = 0}), ElementsAre(0, 1, 2, 3));
}

TEST(Sampler, FiltersOverEqualLogits) {
  const std::vector<float> flat(1000, 3.25f);
  EXPECT_EQ(*Support(flat, {.top_k = 7}).rbegin(), 6);
  EXPECT_EQ(*Support(flat, {.top_p = 0.01f}).rbegin(), 9);
  EXPECT_GT(Support(flat, {}, 8000).size(), 990u);
}

TEST(Sampler, PenaltiesByHand) {
  SamplingParams params{
      .repetition_penalty = 2, .presence_penalty = 0.5, .frequency_penalty = 0.25};
  TokenHistory history(params, std::vector<int32_t>{0, 1, 1});
  for (int32_t id : {1, 2, 2, 2}) history.AddGenerated(id);
  std::vector<float> logits = {4, -4, 6, 5};
  history.Penalize(logits);
  // 0: prompt only, 4 / 2. 1: -4 * 2 - 0.5 - 0.25 * 1. 2: 6 / 2 - 0.5 - 0.25 * 3. 3: unseen.
  EXPECT_THAT(logits, ElementsAre(2.0f, -8.75f, 1.75f, 5.0f));
}

TEST(Sampler, PresenceAndFrequencyLeaveThePromptAlone) {
  SamplingParams params{.presence_penalty = 1, .frequency_penalty = 1};
  TokenHistory history(params, std::vector<int32_t>{0, 0, 0});
  history.AddGenerated(1);
  std::vector<float> logits = {3, 3};
  history.Penalize(logits);
  EXPECT_THAT(logits, ElementsAre(3.0f, 1.0f));
}

TEST(Sampler, BiasComesBeforeThePenalties) {
  // (-1 + 3) / 2 = 1 beats 0.9; were the penalty first, -1 * 2 + 3 = 1 as well, so use the sign:
  // (1 - 3) * 2 = -4 against 1 / 2 - 3 = -2.5.
  SamplingParams params{.temperature = 0, .repetition_penalty = 2, .logit_bias = {{0, -3.0f}}};
  const TokenHistory history(params, std::vector<int32_t>{0});
  Sampler sampler(2);
  EXPECT_EQ(sampler.Sample(std::vector<float>{1, -3}, params, history, 0, 0)->id, 1);
  EXPECT_EQ(sampler.Sample(std::vector<float>{1, -5}, params, history, 0, 0)->id, 0);
}

TEST(Sampler, BiasCanForceAndForbid) {
  const std::vector<float> logits = RandomLogits(500, 3, 8);
  SamplingParams force{.logit_bias = {{77, 100.0f}}};
  EXPECT_THAT(Support(logits, force, 500), ElementsAre(77));
  SamplingParams forbid{.temperature = 0};
  const int32_t best = DrawMany(logits, forbid, 1)[0];
  forbid.logit_bias = {{best, -100.0f}};
  EXPECT_NE(DrawMany(logits, forbid, 1)[0], best);
}

TEST(Sampler, LogprobsAreTheModelsOwn) {
  const std::vector<float> logits = RandomLogits(4000, 3, 21);
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float x : logits) sum += std::exp(x - max);
  const double log_sum_exp = max + std::log(sum);
  // Bias, temperature and filters change the choice but not the reported numbers.
  SamplingParams params{
      .temperature = 0.3f, .top_k = 10, .logit_bias = {{5, 90.0f}}, .top_logprobs = 20};
  Sampler sampler(4000);
  const auto token = sampler.Sample(logits, params, TokenHistory(params, {}), 1, 1);
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->id, 5);
  EXPECT_NEAR(token->logprob, logits[5] - log_sum_exp, 2e-6);
  std::vector<int32_t> order(4000);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  ASSERT_EQ(token->top.size(), 20u);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(token->top[i].id, order[i]);
    EXPECT_NEAR(token->top[i].logprob, logits[order[i]] - log_sum_exp, 2e-6);
  }
}

TEST(Sampler, TopLogprobsAmongEqualsGoByIdAndAreNeverMoreThanTheVocabulary) {
  SamplingParams params{.temperature = 0, .top_logprobs = 20};
  Sampler sampler(3);
  const auto token =
      sampler.Sample(std::vector<float>{1, 2, 2}, params, TokenHistory(params, {}), 0, 0);
  ASSERT_EQ(token->top.size(), 3u);
  EXPECT_EQ(token->top[0].id, 1);
  EXPECT_EQ(token->top[1].id, 2);
  EXPECT_EQ(token->top[2].id, 0);
}

TEST(Sampler, LogitsThatAreNotFiniteAreAnError) {
  for (float bad : {kNan, kInfinity, -kInfinity}) {
    for (size_t at : {0, 15, 16, 40, 49}) {
      std::vector<float> logits(50, 1.0f);
      logits[at] = bad;
      Sampler sampler(50);
      const SamplingParams params;
      const auto token = sampler.Sample(logits, params, TokenHistory(params, {}), 0, 0);
      EXPECT_EQ(token.status().code(), absl::StatusCode::kInternal);
      EXPECT_THAT(token.status().message(), HasSubstr("token " + std::to_string(at) + " "));
    }
  }
}

TEST(Sampler, ExtremeValuesStillGiveAToken) {
  EXPECT_THAT(DrawMany({3e38f, -3e38f}, {}, 2), ElementsAre(0, 0));
  EXPECT_THAT(DrawMany({1, 2}, {.temperature = 1e-6f}, 2), ElementsAre(1, 1));
  SamplingParams params{.repetition_penalty = 1e-38f};
  const TokenHistory history(params, std::vector<int32_t>{1});
  Sampler sampler(3);
  EXPECT_EQ(sampler.Sample(std::vector<float>{9, 5, 1}, params, history, 0, 0)->id, 1);
}

TEST(Sampler, TheDrawDependsOnSeedAndStepAlone) {
  const std::vector<float> logits = RandomLogits(1000, 1, 2);
  const auto once = DrawMany(logits, {.top_p = 0.9f}, 50, 42);
  EXPECT_EQ(once, DrawMany(logits, {.top_p = 0.9f}, 50, 42));
  EXPECT_NE(once, DrawMany(logits, {.top_p = 0.9f}, 50, 43));
  // Another sampler, steps in another order, other requests between them.
  Sampler sampler(1000);
  const SamplingParams params{.top_p = 0.9f};
  const TokenHistory history(params, {});
  for (int step = 49; step >= 0; --step) {
    (void)sampler.Sample(RandomLogits(1000, 2, step), {}, history, step, step);
    EXPECT_EQ(sampler.Sample(logits, params, history, 42, step)->id, once[step]);
  }
}

TEST(Sampler, UniformNumbersAreUniform) {
  std::vector<int> cells(100, 0);
  for (uint64_t seed = 0; seed < 100; ++seed)
    for (uint64_t step = 0; step < 1000; ++step)
      ++cells[static_cast<int>(UniformAt(seed, step) * 100)];
  double chi = 0;
  for (int count : cells) chi += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi, 99 + 3.72 * std::sqrt(198.0) + 9);
}

TEST(SamplingParams, ErrorsNameFieldValueAndRange) {
  const auto message = [](const SamplingParams& params) {
    return std::string(Validate(params, 100).message());
  };
  EXPECT_TRUE(Validate(SamplingParams{}, 100).ok());
  EXPECT_THAT(message({.temperature = -1}), HasSubstr("temperature is -1, must be in [0"));
  EXPECT_THAT(message({.temperature = kNan}), HasSubstr("temperature is nan"));
  EXPECT_THAT(message({.top_p = 0}), HasSubstr("top_p is 0, must be in (0, 1]"));
  EXPECT_THAT(message({.top_k = -2}), HasSubstr("top_k is -2"));
  EXPECT_THAT(message({.min_p = 1.5}), HasSubstr("min_p is 1.5"));
  EXPECT_THAT(message({.repetition_penalty = 0}), HasSubstr("repetition_penalty is 0"));
  EXPECT_THAT(message({.presence_penalty = 3}), HasSubstr("presence_penalty is 3"));
  EXPECT_THAT(message({.frequency_penalty = -3}), HasSubstr("frequency_penalty is -3"));
  EXPECT_THAT(message({.logit_bias = {{100, 1.0f}}}), HasSubstr("token 100"));
  EXPECT_THAT(message({.logit_bias = {{3, kInfinity}}}), HasSubstr("logit_bias of token 3 is inf"));
  EXPECT_THAT(message({.top_logprobs = 21}), HasSubstr("top_logprobs is 21"));
}

}  // namespace
}  // namespace tandem
