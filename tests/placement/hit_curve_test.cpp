#include "placement/hit_curve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <set>

namespace tandem {
namespace {

using testing::ElementsAre;
using Counts = std::vector<int64_t>;

Counts RandomCounts(size_t cells, int64_t most, uint32_t seed) {
  std::mt19937 random(seed);
  Counts counts(cells);
  for (int64_t& count : counts) count = std::uniform_int_distribution<int64_t>(0, most)(random);
  return counts;
}

TEST(HitCurve, RanksOverAllLayersAndLowerCellsFirst) {
  EXPECT_THAT(RankByFrequency(Counts{3, 9, 3, 0, 9, 1}), ElementsAre(1, 4, 0, 2, 5, 3));
}

TEST(HitCurve, PerLayerTakesTheSameNumberOfEach) {
  // Layer 0: 5, 4, 3. Layer 1: 90, 1, 80.
  EXPECT_THAT(RankPerLayer(Counts{5, 4, 3, 90, 1, 80}, 3), ElementsAre(3, 0, 5, 1, 2, 4));
}

TEST(HitCurve, EveryRoundOfPerLayerHoldsOneOfEachLayer) {
  constexpr int64_t kLayers = 7, kExperts = 12;
  const Counts counts = RandomCounts(kLayers * kExperts, 6, 3);  // with many equals
  const std::vector<int32_t> ranking = RankPerLayer(counts, kExperts);
  for (int64_t round = 0; round < kExperts; ++round) {
    std::set<int64_t> layers;
    for (int64_t i = 0; i < kLayers; ++i) layers.insert(ranking[round * kLayers + i] / kExperts);
    EXPECT_EQ(layers.size(), kLayers) << "round " << round;
  }
}

// The best set of each size, found by trying all sets.
TEST(HitCurve, TheOracleIsTheBestOfAllSets) {
  const Counts train = RandomCounts(12, 9, 1), judged = RandomCounts(12, 9, 2);
  std::vector<int64_t> sizes(13);
  std::iota(sizes.begin(), sizes.end(), 0);
  const HitCurves curves = MakeHitCurves(train, judged, 4, sizes);
  const double all = std::accumulate(judged.begin(), judged.end(), 0.0);
  std::vector<double> best(13), best_by_train(13), train_sum(13, -1);
  for (int set = 0; set < 1 << 12; ++set) {
    double of_judged = 0, of_train = 0;
    for (int i = 0; i < 12; ++i)
      if (set >> i & 1) of_judged += judged[i], of_train += train[i];
    const int size = __builtin_popcount(set);
    best[size] = std::max(best[size], of_judged / all);
    // Among the sets that the training counts like best, ties may differ in the judged sum.
    if (of_train > train_sum[size]) best_by_train[size] = 0;
    train_sum[size] = std::max(train_sum[size], of_train);
    if (of_train == train_sum[size])
      best_by_train[size] = std::max(best_by_train[size], of_judged / all);
  }
  for (int size = 0; size <= 12; ++size) {
    EXPECT_DOUBLE_EQ(curves.oracle[size], best[size]) << size;
    EXPECT_LE(curves.frequency[size], best_by_train[size] + 1e-12) << size;
    EXPECT_LE(curves.per_layer[size], curves.oracle[size] + 1e-12) << size;
    EXPECT_DOUBLE_EQ(curves.uniform[size], size / 12.0);
  }
  EXPECT_DOUBLE_EQ(curves.frequency[12], 1);
  EXPECT_DOUBLE_EQ(curves.per_layer[12], 1);
}

TEST(HitCurve, RatesAreOfTheJudgedCountsByTheTrainingRank) {
  const HitCurves curves = MakeHitCurves(Counts{9, 1, 5, 0}, Counts{1, 6, 3, 0}, 2, {0, 1, 2, 4});
  EXPECT_THAT(curves.frequency, ElementsAre(0, 0.1, 0.4, 1));
  EXPECT_THAT(curves.oracle, ElementsAre(0, 0.6, 0.9, 1));
}

TEST(HitCurve, NothingJudgedIsNoHit) {
  EXPECT_THAT(MakeHitCurves(Counts{1, 2}, Counts{0, 0}, 2, {0, 2}).frequency, ElementsAre(0, 0));
}

TEST(HitCurve, PercentagesAreRounded) {
  EXPECT_THAT(HotCounts(23040, std::array{1.0, 6.0, 100.0}), ElementsAre(230, 1382, 23040));
}

}  // namespace
}  // namespace tandem
