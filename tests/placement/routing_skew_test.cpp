#include "placement/routing_skew.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <set>

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Counts = std::vector<int64_t>;

TEST(Skew, AllAlikeHasNone) {
  const Skew skew = SkewOf(Counts(20, 7));
  EXPECT_NEAR(skew.gini, 0, 1e-12);
  EXPECT_NEAR(skew.entropy_share, 1, 1e-12);
  EXPECT_NEAR(skew.top[0], 0.01, 1e-12);  // a fifth of an expert
  EXPECT_NEAR(skew.top[3], 0.20, 1e-12);
}

TEST(Skew, OneExpertHasEverything) {
  Counts hits(100);
  hits[42] = 5;
  const Skew skew = SkewOf(hits);
  EXPECT_NEAR(skew.gini, 0.99, 1e-12);
  EXPECT_NEAR(skew.entropy_share, 0, 1e-12);
  EXPECT_NEAR(skew.top[0], 1, 1e-12);
}

TEST(Skew, NoHitsIsNoSkew) {
  const Skew skew = SkewOf(Counts(10));
  EXPECT_EQ(skew.gini, 0);
  EXPECT_EQ(skew.entropy_share, 1);
}

// Gini as defined: the mean difference of all pairs over twice the mean.
TEST(Skew, GiniIsTheMeanDifferenceOfPairs) {
  std::mt19937 random(5);
  Counts hits(37);
  for (int64_t& hit : hits) hit = random() % 50;
  double differences = 0, sum = 0;
  for (const int64_t a : hits) {
    sum += static_cast<double>(a);
    for (const int64_t b : hits) differences += static_cast<double>(std::abs(a - b));
  }
  EXPECT_NEAR(SkewOf(hits).gini, differences / (2 * 37 * sum), 1e-12);
}

TEST(TopCells, TakesTheBusiestAndNeverTheUnused) {
  EXPECT_THAT(TopCells(Counts{1, 9, 4, 9}, 50), ElementsAre(1, 3));
  EXPECT_THAT(TopCells(Counts{1, 9, 4, 9}, 1), ElementsAre(1));
  EXPECT_THAT(TopCells(Counts{0, 3, 0, 0}, 75), ElementsAre(1));
  EXPECT_THAT(TopCells(Counts(4), 50), IsEmpty());
}

TEST(Jaccard, CommonOverEither) {
  const std::vector<int32_t> a = {1, 2, 3, 8}, b = {2, 8, 9}, none;
  EXPECT_DOUBLE_EQ(Jaccard(a, b), 2.0 / 5);
  EXPECT_DOUBLE_EQ(Jaccard(a, a), 1);
  EXPECT_DOUBLE_EQ(Jaccard(a, none), 0);
  EXPECT_DOUBLE_EQ(Jaccard(none, none), 1);
}

TEST(Jaccard, OfRandomSets) {
  std::mt19937 random(7);
  const auto draw = [&] {
    std::set<int32_t> set;
    while (set.size() < 400) set.insert(static_cast<int32_t>(random() % 4000));
    return std::vector<int32_t>(set.begin(), set.end());
  };
  double sum = 0;
  for (int i = 0; i < 200; ++i) sum += Jaccard(draw(), draw());
  EXPECT_NEAR(sum / 200, JaccardOfRandomSets(10), 0.002);
}

TEST(JensenShannon, ZeroToOneAndSymmetric) {
  const Counts a = {8, 1, 1, 0}, b = {0, 0, 5, 5}, c = {80, 10, 10, 0};
  EXPECT_NEAR(JensenShannon(a, c), 0, 1e-12);
  EXPECT_DOUBLE_EQ(JensenShannon(a, b), JensenShannon(b, a));
  EXPECT_NEAR(JensenShannon(Counts{1, 0}, Counts{0, 3}), 1, 1e-12);
  // By hand: p = 1, 0 and q = 1/2, 1/2; m = 3/4, 1/4.
  const double by_hand =
      0.5 * std::log2(4.0 / 3) + 0.5 * (0.5 * std::log2(2.0 / 3) + 0.5 * std::log2(2.0));
  EXPECT_NEAR(JensenShannon(Counts{4, 0}, Counts{1, 1}), by_hand, 1e-12);
}

TEST(JensenShannon, MeanOfTheLayers) {
  EXPECT_NEAR(MeanJensenShannon(Counts{1, 0, 1, 1}, Counts{0, 1, 1, 1}, 2), 0.5, 1e-12);
}

TEST(Independent, AgreesWithChance) {
  constexpr int kExperts = 24, kTopK = 3, kRows = 7, kRounds = 20000;
  std::mt19937 random(11);
  std::vector<int> experts(kExperts);
  std::iota(experts.begin(), experts.end(), 0);
  int64_t distinct = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::set<int> met;
    for (int row = 0; row < kRows; ++row) {
      std::shuffle(experts.begin(), experts.end(), random);
      met.insert(experts.begin(), experts.begin() + kTopK);
    }
    distinct += static_cast<int64_t>(met.size());
  }
  EXPECT_NEAR(static_cast<double>(distinct) / kRounds, IndependentDistinct(kRows, kExperts, kTopK),
              0.05);
  EXPECT_DOUBLE_EQ(IndependentReuse(1, kExperts, kTopK), 1.0 / 8);
}

}  // namespace
}  // namespace tandem
