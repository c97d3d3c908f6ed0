// The recorder against a plain recount of the same routings.
#include "placement/profile_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <map>
#include <set>

#include "placement/profile_file.h"
#include "tests/placement/random_routing.h"

namespace tandem {
namespace {

int32_t Expert(int32_t id) { return id < 0 ? -id - 1 : id; }

// Everything a profile says, counted the slow way.
struct Recount {
  using Cell =
      std::tuple<std::string, int, int, int32_t, int32_t>;  // label split phase layer expert
  std::map<Cell, int64_t> hits;
  std::map<Cell, double> mass;
  std::map<int, DistinctExperts> distinct;
  std::map<std::pair<int32_t, int>, int64_t> reuse;  // layer, power of two or -1 for first uses
  std::vector<std::set<int32_t>> decoded;            // [decoded token * moe_layers + layer]
  int64_t tokens = 0;

  void Add(const ModelIdentity& model, const FakeStep& step) {
    const int layers = model.moe_layers();
    double distinct_sum = 0;
    for (int32_t layer = 0; layer < layers; ++layer) {
      std::set<int32_t> used;
      for (size_t i = 0; i < step.ids[layer].size(); ++i) {
        const RoutedRow& row = step.rows[i / model.top_k];
        const int32_t expert = Expert(step.ids[layer][i]);
        const Cell cell{row.label, row.sequence % 4 == 3, static_cast<int>(row.phase), layer,
                        expert};
        ++hits[cell];
        mass[cell] += step.weights[layer][i];
        used.insert(expert);
      }
      distinct_sum += static_cast<double>(used.size()) / layers;
    }
    AddReuse(model, step);
    DistinctExperts& bucket = distinct[static_cast<int>(std::log2(step.rows.size()))];
    ++bucket.steps;
    bucket.rows += std::ssize(step.rows);
    bucket.distinct += distinct_sum;
    tokens += std::ssize(step.rows);
  }

  void AddReuse(const ModelIdentity& model, const FakeStep& step) {
    const int layers = model.moe_layers();
    for (size_t row = 0; row < step.rows.size(); ++row) {
      if (step.rows[row].phase != Phase::kDecode) continue;
      const int64_t now = std::ssize(decoded) / layers;
      for (int32_t layer = 0; layer < layers; ++layer) {
        std::set<int32_t> mine;
        for (int k = 0; k < model.top_k; ++k)
          mine.insert(Expert(step.ids[layer][row * model.top_k + k]));
        for (const int32_t expert : mine) {
          int64_t before = now - 1;
          while (before >= 0 && !decoded[before * layers + layer].contains(expert)) --before;
          ++reuse[{layer, before < 0 ? -1 : static_cast<int>(std::log2(now - before))}];
        }
        decoded.push_back(mine);
      }
    }
  }
};

void ExpectCounts(const Recount& naive, const ExpertProfile& profile) {
  int64_t cells = 0;
  for (const LabelProfile& label : profile.labels) {
    for (int split = 0; split < kSplits; ++split) {
      for (int phase = 0; phase < kPhases; ++phase) {
        const RoutingCounts& counts = label.counts[split][phase];
        for (size_t i = 0; i < counts.hits.size(); ++i) {
          if (counts.hits[i] == 0) continue;
          ++cells;
          const Recount::Cell cell{label.name, split, phase, i / profile.model.experts,
                                   i % profile.model.experts};
          ASSERT_TRUE(naive.hits.contains(cell)) << label.name << " cell " << i;
          EXPECT_EQ(counts.hits[i], naive.hits.at(cell));
          EXPECT_NEAR(counts.mass[i], naive.mass.at(cell), 1e-9 * counts.hits[i]);
        }
      }
    }
  }
  EXPECT_EQ(cells, std::ssize(naive.hits));
  EXPECT_EQ(profile.tokens(), naive.tokens);
}

void ExpectSteps(const Recount& naive, const ExpertProfile& profile) {
  for (int i = 0; i < kRowBuckets; ++i) {
    const auto found = naive.distinct.find(i);
    const DistinctExperts expected =
        found == naive.distinct.end() ? DistinctExperts{} : found->second;
    EXPECT_EQ(profile.distinct[i].steps, expected.steps) << "2^" << i;
    EXPECT_EQ(profile.distinct[i].rows, expected.rows) << "2^" << i;
    EXPECT_NEAR(profile.distinct[i].distinct, expected.distinct, 1e-9) << "2^" << i;
  }
  for (int32_t layer = 0; layer < profile.model.moe_layers(); ++layer) {
    for (int bucket = 0; bucket < kReuseBuckets; ++bucket) {
      const auto found = naive.reuse.find({layer, bucket == kReuseBuckets - 1 ? -1 : bucket});
      EXPECT_EQ(profile.reuse[layer * kReuseBuckets + bucket],
                found == naive.reuse.end() ? 0 : found->second)
          << "layer " << layer << ", 2^" << bucket;
    }
  }
}

TEST(ProfileRecorder, CountsWhatAPlainRecountCounts) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const ModelIdentity model = SmallModel(1 + seed % 4, 8 + seed * 5, 1 + seed % 4);
    ProfileRecorder recorder(model);
    Recount naive;
    for (const FakeStep& step : RandomSteps(model, 300, random, 1 + seed % 3)) {
      const auto rows = static_cast<int32_t>(step.rows.size());
      Tell(model, step, recorder, rows > 1 && random() % 2 ? 1 + random() % (rows - 1) : 0);
      naive.Add(model, step);
    }
    const ExpertProfile profile = recorder.Snapshot();
    ExpectCounts(naive, profile);
    ExpectSteps(naive, profile);
    EXPECT_EQ(CheckProfile(profile), absl::OkStatus());
    EXPECT_EQ(recorder.tokens(), naive.tokens);
    EXPECT_EQ(recorder.dropped_steps(), 0);
  }
}

TEST(ProfileRecorder, AllTokensOnOneExpert) {
  const ModelIdentity model = SmallModel(2, 16, 1);
  ProfileRecorder recorder(model);
  FakeStep step{.rows = {512, {3, "x", Phase::kDecode}},
                .ids = {2, std::vector<int32_t>(512, ~15)},
                .weights = {2, std::vector<float>(512, 0.5f)}};
  Tell(model, step, recorder);
  const ExpertProfile profile = recorder.Snapshot();
  ASSERT_EQ(profile.labels.size(), 1u);
  const RoutingCounts& counts = profile.labels[0].of(Split::kHeldOut, Phase::kDecode);
  EXPECT_EQ(counts.hits[15], 512);
  EXPECT_EQ(counts.hits[31], 512);
  EXPECT_DOUBLE_EQ(counts.mass[31], 256);
  EXPECT_EQ(profile.distinct[9].steps, 1);
  EXPECT_EQ(profile.distinct[9].distinct, 1);
  EXPECT_EQ(profile.reuse[0], 511);  // all but the first: one token ago
  EXPECT_EQ(profile.reuse[kReuseBuckets - 1], 1);
  EXPECT_EQ(CheckProfile(profile), absl::OkStatus());
}

TEST(ProfileRecorder, AStepThatDidNotEndIsNotCounted) {
  std::mt19937_64 random(5);
  const ModelIdentity model = SmallModel();
  ProfileRecorder recorder(model), clean(model);
  for (const FakeStep& step : RandomSteps(model, 40, random)) {
    const FakeStep failed = RandomStep(model, step.rows, random);
    recorder.BeginStep(failed.rows);
    for (int32_t layer = 0; layer < model.moe_layers() - 1; ++layer)
      TellRouted(model, failed, layer, 0, static_cast<int32_t>(failed.rows.size()), recorder);
    Tell(model, step, recorder);
    Tell(model, step, clean);
  }
  EXPECT_EQ(recorder.dropped_steps(), 0);
  EXPECT_EQ(ProfileToBytes(recorder.Snapshot()), ProfileToBytes(clean.Snapshot()));
}

TEST(ProfileRecorder, ImpossibleStepsAreLeftOut) {
  std::mt19937_64 random(6);
  const ModelIdentity model = SmallModel();
  const FakeStep good =
      RandomStep(model, {{0, "", Phase::kDecode}, {1, "", Phase::kDecode}}, random);
  const auto broken = [&](auto&& change) {
    FakeStep step = good;
    change(step);
    return step;
  };
  ProfileRecorder recorder(model);
  Tell(model, broken([](FakeStep& s) { s.ids[2][4] = 16; }), recorder);
  Tell(model, broken([](FakeStep& s) { s.ids[0][0] = ~16; }), recorder);
  Tell(model, broken([](FakeStep& s) { s.ids[0][0] = INT32_MIN; }), recorder);
  Tell(model, broken([](FakeStep& s) { s.ids[3][5] = INT32_MAX; }), recorder);
  Tell(model, broken([](FakeStep& s) { s.weights[1][1] = NAN; }), recorder);
  Tell(model, broken([](FakeStep& s) { s.weights[1][1] = INFINITY; }), recorder);
  Tell(model, broken([](FakeStep& s) { s.weights[1][1] = -0.1f; }), recorder);
  EXPECT_EQ(recorder.dropped_steps(), 7);
  recorder.BeginStep(good.rows);  // a layer too few
  TellRouted(model, good, 0, 0, 2, recorder);
  recorder.EndStep();
  recorder.BeginStep(good.rows);  // a layer that does not exist
  recorder.Routed({5}, 0, {good.ids[0].data(), {2, 3}}, {good.weights[0].data(), {2, 3}});
  recorder.EndStep();
  recorder.BeginStep(good.rows);  // a dense layer
  recorder.Routed({0}, 0, {good.ids[0].data(), {2, 3}}, {good.weights[0].data(), {2, 3}});
  recorder.EndStep();
  recorder.BeginStep(good.rows);  // rows that do not exist
  recorder.Routed({1}, 1, {good.ids[0].data(), {2, 3}}, {good.weights[0].data(), {2, 3}});
  recorder.EndStep();
  recorder.BeginStep(good.rows);  // another top_k
  recorder.Routed({1}, 0, {good.ids[0].data(), {2, 2}}, {good.weights[0].data(), {2, 2}});
  recorder.EndStep();
  recorder.EndStep();  // nothing began
  EXPECT_EQ(recorder.dropped_steps(), 13);
  EXPECT_EQ(recorder.tokens(), 0);
  Tell(model, good, recorder);
  EXPECT_EQ(recorder.tokens(), 2);
  EXPECT_EQ(CheckProfile(recorder.Snapshot()), absl::OkStatus());
}

TEST(ProfileRecorder, WindowsGetLongerRatherThanMore) {
  std::mt19937_64 random(7);
  const ModelIdentity model = SmallModel(2, 8, 2);
  ProfileRecorder recorder(model);
  std::vector<int64_t> in_order;  // expert of layer 0, token by token
  for (int i = 0; i < 64 * 64 * 3 + 10; ++i) {
    const FakeStep step = RandomStep(model, {{0, "", Phase::kDecode}}, random);
    Tell(model, step, recorder);
    in_order.push_back(Expert(step.ids[0][0]));
    in_order.push_back(Expert(step.ids[0][1]));
  }
  const ExpertProfile profile = recorder.Snapshot();
  EXPECT_EQ(profile.window_tokens, 256);
  ASSERT_EQ(profile.windows.size(), 49u);
  EXPECT_EQ(profile.windows.back().tokens, 10);
  size_t at = 0;
  for (const ProfileWindow& window : profile.windows) {
    std::vector<int32_t> expected(8);
    for (int64_t i = 0; i < 2 * window.tokens; ++i) ++expected[in_order[at++]];
    EXPECT_THAT(std::vector<int32_t>(window.hits.begin(), window.hits.begin() + 8),
                testing::ElementsAreArray(expected));
  }
  EXPECT_EQ(CheckProfile(profile), absl::OkStatus());
}

TEST(ProfileRecorder, FindsThePairsThatGoTogether) {
  std::mt19937_64 random(8);
  const ModelIdentity model = SmallModel(3, 64, 2);
  ProfileRecorder recorder(model);
  for (int i = 0; i < 2000; ++i) {
    FakeStep step = RandomStep(model, {8, {0, "", Phase::kDecode}}, random);
    for (int row = 0; row < 8; row += 2) {  // half of the tokens: 9, 5 in layer 1 and 60, 61 next
      step.ids[1][row * 2] = 9, step.ids[1][row * 2 + 1] = ~5;
      step.ids[2][row * 2] = 60, step.ids[2][row * 2 + 1] = 61;
    }
    Tell(model, step, recorder);
  }
  const ExpertProfile profile = recorder.Snapshot();
  EXPECT_GT(profile.pair_tokens, 2000);
  const auto share = [&](int32_t layer, bool next, int32_t first, int32_t second) {
    for (const ExpertPair& pair : profile.pairs)
      if (pair.moe_layer == layer && pair.next_layer == next && pair.first == first &&
          pair.second == second) {
        return static_cast<double>(pair.count) / static_cast<double>(profile.pair_tokens);
      }
    return 0.0;
  };
  EXPECT_NEAR(share(1, false, 5, 9), 0.5, 0.03);
  EXPECT_NEAR(share(1, true, 5, 60), 0.5, 0.03);
  EXPECT_NEAR(share(1, true, 9, 61), 0.5, 0.03);
  EXPECT_NEAR(share(2, false, 60, 61), 0.5, 0.03);
  EXPECT_EQ(std::ssize(profile.pairs), (3 + 2) * kTopPairs);
}

TEST(ProfileRecorder, LabelsHaveADefaultAndABound) {
  std::mt19937_64 random(9);
  const ModelIdentity model = SmallModel();
  ProfileRecorder recorder(model, "unnamed");
  std::vector<std::string> names(200);
  for (size_t i = 1; i < names.size(); ++i) names[i] = "label " + std::to_string(i);
  for (const std::string& name : names)
    Tell(model, RandomStep(model, {{0, name, Phase::kPrefill}}, random), recorder);
  const ExpertProfile profile = recorder.Snapshot();
  ASSERT_EQ(std::ssize(profile.labels), kMaxLabels);
  EXPECT_EQ(profile.labels[0].name, "unnamed");
  EXPECT_EQ(profile.labels.back().name, kOtherLabels);
  EXPECT_EQ(profile.labels.back().of(Split::kTrain, Phase::kPrefill).tokens, 200 - 63);
}

double ThreadCpuUs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1e6 + now.tv_nsec * 1e-3;
}

// What counting costs at Kimi K2.6's size; docs/placement.md tells the figure. Time of
// this thread, as other programs run beside the tests; the bound is loose as caches are shared.
TEST(ProfileRecorder, CountingIsCheap) {
  std::mt19937_64 random(10);
  const ModelIdentity model = SmallModel(60, 384, 8);
  for (const int rows : {1, 8, 256}) {
    std::vector<FakeStep> steps;
    for (int i = 0; i < 24; ++i)
      steps.push_back(RandomStep(
          model, {size_t(rows), {0, "", rows > 64 ? Phase::kPrefill : Phase::kDecode}}, random));
    ProfileRecorder recorder(model);
    std::vector<double> us;
    for (int i = 0; i < (rows > 64 ? 48 : 480); ++i) {
      const double begin_us = ThreadCpuUs();
      Tell(model, steps[i % steps.size()], recorder);
      us.push_back(ThreadCpuUs() - begin_us);
    }
    double sum = 0;
    for (const double each : us) sum += each;
    std::sort(us.begin(), us.end());
    const double mean_us = sum / us.size(), median_us = us[us.size() / 2];
    std::printf(
        "60 layers x 384 experts, 8 of them: %d rows: %.1f us per step (median %.1f), "
        "%.0f ns per row and layer\n",
        rows, mean_us, median_us, mean_us * 1000 / (60 * rows));
    EXPECT_LT(median_us, 60 * rows * 2.0);
  }
}

}  // namespace
}  // namespace tandem
