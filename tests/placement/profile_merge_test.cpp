// Merging keeps sums whatever the order; comparing a profile with itself finds nothing.
#include "placement/profile_merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/pair_counter.h"
#include "placement/profile_file.h"
#include "placement/profile_recorder.h"
#include "tests/placement/random_routing.h"

namespace tandem {
namespace {

using testing::HasSubstr;

ExpertProfile Recorded(uint64_t seed, int n_steps, double skew = 1.0,
                       const ModelIdentity& model = SmallModel()) {
  std::mt19937_64 random(seed);
  ProfileRecorder recorder(model);
  for (const FakeStep& step : RandomSteps(model, n_steps, random, skew))
    Tell(model, step, recorder);
  ExpertProfile profile = recorder.Snapshot();
  profile.recorded_unix_s = 1000 + seed;
  return profile;
}

void ExpectSameCounts(const ExpertProfile& a, const ExpertProfile& b) {
  ASSERT_EQ(a.labels.size(), b.labels.size());
  for (size_t l = 0; l < a.labels.size(); ++l) {
    EXPECT_EQ(a.labels[l].name, b.labels[l].name);
    for (int i = 0; i < kSplits * kPhases; ++i) {
      const RoutingCounts& one = a.labels[l].counts[i / 2][i % 2];
      const RoutingCounts& other = b.labels[l].counts[i / 2][i % 2];
      EXPECT_EQ(one.tokens, other.tokens);
      EXPECT_EQ(one.hits, other.hits);
      for (size_t cell = 0; cell < one.mass.size(); ++cell)
        EXPECT_NEAR(one.mass[cell], other.mass[cell], 1e-9);
    }
  }
  EXPECT_EQ(a.reuse, b.reuse);
  EXPECT_EQ(a.pair_tokens, b.pair_tokens);
  for (int i = 0; i < kRowBuckets; ++i) {
    EXPECT_EQ(a.distinct[i].steps, b.distinct[i].steps);
    EXPECT_EQ(a.distinct[i].rows, b.distinct[i].rows);
    EXPECT_NEAR(a.distinct[i].distinct, b.distinct[i].distinct, 1e-9);
  }
  EXPECT_EQ(a.recorded_unix_s, b.recorded_unix_s);
}

TEST(MergeProfiles, OrderAndGroupingDoNotMatter) {
  const ExpertProfile a = Recorded(1, 100), b = Recorded(2, 300, 2.0), c = Recorded(3, 50, 3.0);
  const ExpertProfile ab = *MergeProfiles(a, b), ba = *MergeProfiles(b, a);
  ExpectSameCounts(ab, ba);
  ExpectSameCounts(*MergeProfiles(ab, c), *MergeProfiles(a, *MergeProfiles(b, c)));
  EXPECT_EQ(ProfileToBytes(ab), ProfileToBytes(ba));  // with different beginnings even all of it
  EXPECT_EQ(ab.tokens(), a.tokens() + b.tokens());
  EXPECT_EQ(CheckProfile(ab), absl::OkStatus());
}

TEST(MergeProfiles, LabelsOfOneNameAddUp) {
  ExpertProfile a = Recorded(1, 100), b = Recorded(2, 100);
  b.labels[1].name = "only in b";
  const int64_t cell = 5, of_a = SumCounts(a).hits[cell], of_b = SumCounts(b).hits[cell];
  const ExpertProfile merged = *MergeProfiles(a, b);
  ASSERT_EQ(merged.labels.size(), 4u);
  EXPECT_EQ(SumCounts(merged).hits[cell], of_a + of_b);
  for (const LabelProfile& label : merged.labels) {
    if (label.name != "only in b") continue;
    EXPECT_EQ(label.counts[0][1].hits, b.labels[1].counts[0][1].hits);
  }
}

TEST(MergeProfiles, WindowsKeepOrderAndNumber) {
  const ModelIdentity model = SmallModel(1, 8, 1);
  ExpertProfile a = Recorded(1, 3000, 1, model), b = Recorded(2, 400, 1, model);
  ASSERT_GT(a.window_tokens, b.window_tokens);
  const ExpertProfile merged = *MergeProfiles(b, a);  // a began first
  EXPECT_LE(std::ssize(merged.windows), kMaxWindows);
  EXPECT_EQ(CheckProfile(merged), absl::OkStatus());
  const ProfileWindow &was = a.windows[0], &is = merged.windows[0];
  EXPECT_GE(is.tokens, was.tokens);
  for (int expert = 0; expert < 8; ++expert) EXPECT_GE(is.hits[expert], was.hits[expert]);
  // Without answers there are no windows to bring along.
  ExpertProfile prompts = Recorded(3, 1, 1, model);
  prompts.windows.clear();
  EXPECT_EQ(MergeProfiles(a, prompts)->windows.size(), a.windows.size());
  EXPECT_EQ(MergeProfiles(prompts, b)->window_tokens, b.window_tokens);
}

TEST(MergeProfiles, PairsAreAddedAndCutAgain) {
  const ModelIdentity model = SmallModel(3, 64, 4);
  const ExpertProfile a = Recorded(1, 500, 2, model), b = Recorded(2, 500, 2, model);
  const ExpertProfile merged = *MergeProfiles(a, b);
  EXPECT_EQ(std::ssize(merged.pairs), (3 + 2) * kTopPairs);
  EXPECT_TRUE(std::is_sorted(merged.pairs.begin(), merged.pairs.end(), PairBefore));
  const ExpertPair &top_a = a.pairs[0], &top = merged.pairs[0];
  EXPECT_GE(top.count, top_a.count);
  EXPECT_EQ(CheckProfile(merged), absl::OkStatus());
}

TEST(MergeProfiles, OtherModelsAreRefused) {
  const auto merged = MergeProfiles(Recorded(1, 5), Recorded(2, 5, 1, SmallModel(4, 17, 3)));
  EXPECT_EQ(merged.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(merged.status().message(), HasSubstr("it has 17 experts per layer, this one 16"));
  ExpertProfile other = Recorded(2, 5);
  other.model.router_hash = 8;
  EXPECT_FALSE(MergeProfiles(Recorded(1, 5), other).ok());
  other.model.router_hash = 0;  // unknown: cannot be told apart
  EXPECT_EQ(MergeProfiles(other, Recorded(1, 5))->model.router_hash, 7u);
}

TEST(DiffProfiles, OfAProfileWithItselfIsNothing) {
  const ExpertProfile a = Recorded(1, 200, 2.0);
  const auto diff = DiffProfiles(a, a, {.by_label = true});
  ASSERT_TRUE(diff.ok()) << diff.status();
  ASSERT_EQ(diff->labels.size(), 3u);
  std::vector<CountsDifference> all = diff->labels;
  all.push_back(diff->overall);
  for (const CountsDifference& each : all) {
    ASSERT_EQ(each.layers.size(), 4u);
    for (const LayerDifference& layer : each.layers) {
      EXPECT_EQ(layer.jensen_shannon, 0);
      EXPECT_EQ(layer.top_overlap, 1);
      EXPECT_NEAR(layer.rank_correlation, 1, 1e-12);
    }
  }
}

// A layer whose four experts have these hits; one hit per token.
RoutingCounts Counts(std::vector<int64_t> hits) {
  RoutingCounts counts{.hits = hits, .mass = std::vector<double>(hits.size())};
  for (const int64_t n : hits) counts.tokens += n;
  return counts;
}

TEST(DiffProfiles, KnownValues) {
  const ModelIdentity model = SmallModel(1, 4, 1);
  const auto diff = [&](std::vector<int64_t> a, std::vector<int64_t> b, double top) {
    return DiffCounts(model, Counts(std::move(a)), Counts(std::move(b)), top)->mean;
  };
  LayerDifference d = diff({4, 2, 0, 0}, {0, 0, 1, 3}, 0.5);  // nothing in common
  EXPECT_DOUBLE_EQ(d.jensen_shannon, 1);
  EXPECT_DOUBLE_EQ(d.top_overlap, 0);
  EXPECT_NEAR(d.rank_correlation, -8 / 9.0, 1e-12);  // ranks 0 1 2.5 2.5 and 2.5 2.5 1 0
  d = diff({8, 6, 4, 2}, {1, 2, 3, 4}, 0.5);
  EXPECT_NEAR(d.rank_correlation, -1, 1e-12);
  d = diff({8, 6, 4, 2}, {80, 60, 40, 20}, 0.5);  // shares count, not numbers
  EXPECT_NEAR(d.jensen_shannon, 0, 1e-12);
  EXPECT_DOUBLE_EQ(d.top_overlap, 1);
  d = diff({9, 5, 1, 0}, {9, 1, 5, 0}, 0.5);  // one of two: 1 in 3
  EXPECT_NEAR(d.top_overlap, 1 / 3.0, 1e-12);
  d = diff({1, 1, 0, 0}, {1, 0, 0, 0}, 0.25);  // KL(p|m)/2 + KL(q|m)/2 by hand
  EXPECT_NEAR(d.jensen_shannon,
              0.5 * (0.5 * std::log2(0.5 / 0.75) + 0.5 * std::log2(2)) + 0.5 * std::log2(1 / 0.75),
              1e-12);
}

TEST(DiffProfiles, RefusesWhatCannotBeCompared) {
  const ExpertProfile a = Recorded(1, 5);
  EXPECT_FALSE(DiffProfiles(a, ProfileRecorder(SmallModel()).Snapshot()).ok());
  EXPECT_FALSE(DiffProfiles(a, a, {.top_fraction = 0}).ok());
  EXPECT_FALSE(DiffProfiles(a, a, {.top_fraction = 1.5}).ok());
  EXPECT_FALSE(DiffProfiles(a, Recorded(1, 5, 1, SmallModel(5))).ok());
}

}  // namespace
}  // namespace tandem
