// Online adaptation: follows a shift, leaves chance alone, and keeps what it promises.
#include "placement/expert_adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>

namespace tandem {
namespace {

constexpr int32_t kDense = 1, kLayers = 3, kExperts = 32, kTopK = 2;

ModelIdentity Model() {
  return {.layers = kLayers,
          .dense_layers = kDense,
          .hidden = 64,
          .experts = kExperts,
          .top_k = kTopK,
          .expert_intermediate = 32};
}
constexpr int64_t kExpertBytes = 3456;

// Hot experts 0 .. n-1 of every layer.
std::vector<std::vector<ExpertId>> FirstHot(int32_t n) {
  std::vector<std::vector<ExpertId>> hot(kLayers);
  for (int32_t l = kDense; l < kLayers; ++l)
    for (int32_t e = 0; e < n; ++e) hot[l].push_back({e});
  return hot;
}

// A step in which every row uses `ids` in every layer; hot ones are shown as the engine does.
void Step(ExpertAdapter& adapter, const std::vector<std::vector<int32_t>>& ids,
          Phase phase = Phase::kDecode) {
  std::vector<RoutedRow> rows(ids.size());
  for (RoutedRow& row : rows) row.phase = phase;
  adapter.BeginStep(rows);
  for (int32_t l = kDense; l < kLayers; ++l) {
    std::vector<int32_t> flat;
    for (const auto& row : ids)
      for (const int32_t e : row) flat.push_back(adapter.IsHot({l}, {e}) ? ~e : e);
    const int64_t n = std::ssize(ids), half = n / 2;
    const View<const int32_t, 2> all(flat.data(), {n, kTopK});
    if (half > 0) adapter.Routed({l}, 0, all.Slice(0, half), {});  // in two parts
    adapter.Routed({l}, static_cast<int32_t>(half), all.Slice(half, n - half), {});
  }
  adapter.EndStep();
}

// Two different experts of which those from `favourite` on (8 of them) are `times` as likely.
std::vector<int32_t> Draw(std::mt19937& random, int32_t favourite, double times) {
  std::vector<double> weights(kExperts, 1);
  for (int32_t e = favourite; e < favourite + 8; ++e) weights[e] = times;
  std::discrete_distribution<int32_t> one(weights.begin(), weights.end());
  const int32_t first = one(random);
  int32_t second = one(random);
  while (second == first) second = one(random);
  return {first, second};
}

AdapterOptions Options() {
  return {.half_life_tokens = 500,
          .dwell_tokens = 300,
          .hysteresis = 1.2,
          .sigmas = 4,
          .margin = 2,
          .interval_tokens = 50,
          .max_swaps = 4,
          .horizon_tokens = 2000,
          .cpu_expert_s = 1e-3,
          .send_expert_s = 1e-3};
}

double HotUse(const ExpertAdapter& adapter, int32_t favourite) {
  int hot = 0;
  for (int32_t l = kDense; l < kLayers; ++l)
    for (int32_t e = favourite; e < favourite + 8; ++e) hot += adapter.IsHot({l}, {e});
  return hot / (8.0 * (kLayers - kDense));
}

TEST(ExpertAdapter, UseIsTheAverageWithAHalfLife) {
  AdapterOptions options = Options();
  options.half_life_tokens = 10;
  ExpertAdapter adapter(Model(), FirstHot(4), options);
  Step(adapter, {{5, 6}});
  for (int i = 0; i < 10; ++i) Step(adapter, {{6, 7}});
  // Weights 1 for the first token and 2^(i/10) for those behind it.
  double sum = 0;
  for (int i = 0; i <= 10; ++i) sum += std::exp2(i / 10.0);
  EXPECT_NEAR(adapter.Use({1}, {5}), 1 / sum, 1e-12);
  EXPECT_NEAR(adapter.Use({1}, {6}), 1, 1e-12);
  EXPECT_NEAR(adapter.Use({2}, {7}), (sum - 1) / sum, 1e-12);
  EXPECT_EQ(adapter.Use({1}, {8}), 0);
  EXPECT_EQ(adapter.decoded_tokens(), 11);
  Step(adapter, {{1, 2}, {1, 2}}, Phase::kPrefill);
  EXPECT_EQ(adapter.decoded_tokens(), 11);
  EXPECT_EQ(adapter.Use({1}, {1}), 0);
  // Long after: numbers stay in range.
  for (int i = 0; i < 20000; ++i) Step(adapter, {{i % 2, 7}});
  EXPECT_NEAR(adapter.Use({1}, {0}), 0.5, 0.05);
  EXPECT_NEAR(adapter.Use({1}, {7}), 1, 1e-9);
}

TEST(ExpertAdapter, AStepThatFailedDoesNotCount) {
  ExpertAdapter adapter(Model(), FirstHot(4), Options());
  Step(adapter, {{5, 6}});
  const std::vector<RoutedRow> rows(1, {.phase = Phase::kDecode});
  adapter.BeginStep(rows);
  const int32_t ids[2] = {9, 10};
  adapter.Routed({1}, 0, View<const int32_t, 2>(ids, {1, 2}), {});
  Step(adapter, {{5, 6}});
  EXPECT_EQ(adapter.decoded_tokens(), 2);
  EXPECT_EQ(adapter.Use({1}, {9}), 0);
}

TEST(ExpertAdapter, GainIsWhatTheHorizonSaves) {
  AdapterOptions options = Options();
  options.half_life_tokens = 1e9;  // a plain average
  options.sigmas = 0.1;
  options.interval_tokens = 100;
  ExpertAdapter adapter(Model(), FirstHot(2), options);
  // Of 100 tokens, expert 0 is used by 10, 1 by all, 20 by 60, the rest by 30 in sum.
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(adapter.due());
    Step(adapter, {{1, i < 10 ? 0 : i < 70 ? 20 : 21}});
  }
  EXPECT_TRUE(adapter.due());
  const std::vector<ExpertSwap> swaps = adapter.Propose();
  EXPECT_FALSE(adapter.due());
  ASSERT_EQ(swaps.size(), 2);  // one in each MoE layer
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(swaps[i].layer.value, kDense + static_cast<int32_t>(i));
    EXPECT_EQ(swaps[i].out, ExpertId{0});
    EXPECT_EQ(swaps[i].in, ExpertId{20});
    EXPECT_NEAR(swaps[i].gain_s, 2000 * (0.6 - 0.1) * 1e-3, 1e-6);
    EXPECT_EQ(swaps[i].bytes, kExpertBytes);
  }
}

TEST(ExpertAdapter, ASwapThatCostsMoreThanItSavesIsNotProposed) {
  const auto proposed = [](auto change) {
    AdapterOptions options = Options();
    options.half_life_tokens = 1e9;
    options.sigmas = 0.1;
    options.max_swaps = 100;
    change(options);
    ExpertAdapter adapter(Model(), FirstHot(2), options);
    for (int i = 0; i < 100; ++i) Step(adapter, {{i < 40 ? 0 : 2, i < 60 ? 1 : 20}});
    return std::ssize(adapter.Propose());  // 0: 0.4, 1: 0.6, 2: 0.6, 20: 0.4
  };
  // 2000 tokens x 0.2 x 1 ms = 0.4 s for 2 (in place of 0).
  EXPECT_EQ(proposed([](AdapterOptions&) {}), 2);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.send_expert_s = 0.19; }), 2);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.send_expert_s = 0.21; }), 0);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.cpu_expert_s = 0.4e-5; }), 0);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.hysteresis = 1.49; }), 2);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.hysteresis = 1.51; }), 0);
  // The difference is 2.0 times sqrt((0.4 + 0.6) / 100).
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.sigmas = 1.99; }), 2);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.sigmas = 2.01; }), 0);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.max_swaps = 1; }), 1);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.max_bytes = 2 * kExpertBytes - 1; }), 1);
  EXPECT_EQ(proposed([](AdapterOptions& o) { o.max_bytes = kExpertBytes - 1; }), 0);
}

TEST(ExpertAdapter, FollowsAShift) {
  std::mt19937 random(1);
  ExpertAdapter adapter(Model(), FirstHot(8), Options());
  const auto run = [&](int tokens, int32_t favourite) {
    for (int i = 0; i < tokens; ++i) {
      Step(adapter, {Draw(random, favourite, 10)});
      if (!adapter.due()) continue;
      const auto swaps = adapter.Propose();
      EXPECT_LE(swaps.size(), 4);
      for (const ExpertSwap& swap : swaps) adapter.Done(swap);
    }
  };
  run(2000, 12);
  EXPECT_EQ(HotUse(adapter, 12), 1);
  run(4000, 24);
  EXPECT_EQ(HotUse(adapter, 24), 1);
}

TEST(ExpertAdapter, LeavesChanceAlone) {
  std::mt19937 random(2);
  ExpertAdapter adapter(Model(), FirstHot(8), Options());
  int swaps = 0, rounds = 0;
  for (int i = 0; i < 50000; ++i) {
    Step(adapter, {Draw(random, 0, 1)});
    if (!adapter.due()) continue;
    ++rounds;
    for (const ExpertSwap& swap : adapter.Propose()) {
      adapter.Done(swap);
      ++swaps;
    }
  }
  EXPECT_EQ(rounds, 1000);
  EXPECT_LE(swaps, 10);  // one in five thousand tokens
}

TEST(ExpertAdapter, NothingMovesTwiceWithinTheDwellTime) {
  std::mt19937 random(3);
  AdapterOptions options = Options();
  options.half_life_tokens = 50;  // nervous: only the dwell time holds it
  options.sigmas = 0;
  options.interval_tokens = 10;
  ExpertAdapter adapter(Model(), FirstHot(8), options);
  std::map<std::pair<int32_t, int32_t>, int64_t> moved;  // (layer, expert) -> when
  int swaps = 0;
  for (int i = 0; i < 10000; ++i) {
    Step(adapter, {Draw(random, i / 100 % 3 * 12, 10)});
    if (!adapter.due()) continue;
    for (const ExpertSwap& swap : adapter.Propose()) {
      adapter.Done(swap);
      ++swaps;
      for (const ExpertId expert : {swap.out, swap.in}) {
        const auto [at, first] =
            moved.try_emplace({swap.layer.value, expert.value}, adapter.decoded_tokens());
        EXPECT_TRUE(first || adapter.decoded_tokens() - at->second >= options.dwell_tokens);
        at->second = adapter.decoded_tokens();
      }
    }
  }
  EXPECT_GT(swaps, 100);
}

TEST(ExpertAdapter, WhatIsUnderWayIsNotProposedAgain) {
  AdapterOptions options = Options();
  options.sigmas = 0;
  ExpertAdapter adapter(Model(), FirstHot(1), options);
  const auto feed = [&] {
    for (int i = 0; i < 50; ++i) Step(adapter, {{7, 8}});
  };
  feed();
  const std::vector<ExpertSwap> first = adapter.Propose();
  ASSERT_EQ(first.size(), 2);
  feed();
  EXPECT_TRUE(adapter.Propose().empty());  // the only hot expert of each layer is on its way out
  EXPECT_FALSE(adapter.IsHot(first[0].layer, first[0].in));
  adapter.Dropped(first[0]);
  adapter.Done(first[1]);
  feed();
  const std::vector<ExpertSwap> again = adapter.Propose();
  ASSERT_EQ(again.size(), 1);  // the other one dwells
  EXPECT_EQ(again[0].layer, first[0].layer);
  EXPECT_EQ(again[0].in, first[0].in);
  EXPECT_TRUE(adapter.IsHot(first[1].layer, first[1].in));
  EXPECT_FALSE(adapter.IsHot(first[1].layer, first[1].out));
}

}  // namespace
}  // namespace tandem
