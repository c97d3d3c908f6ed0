// Profile files: what is written comes back, what is damaged is refused.
#include "placement/profile_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "placement/profile_recorder.h"
#include "placement/sealed_file.h"
#include "tests/placement/random_routing.h"

namespace tandem {
namespace {

using testing::HasSubstr;

ExpertProfile Recorded(const ModelIdentity& model, uint64_t seed, int n_steps) {
  std::mt19937_64 random(seed);
  ProfileRecorder recorder(model);
  for (const FakeStep& step : RandomSteps(model, n_steps, random, 2.0)) Tell(model, step, recorder);
  return recorder.Snapshot();
}

class ProfileFile : public testing::Test {
 protected:
  ProfileFile() { std::filesystem::create_directories(dir_); }
  ~ProfileFile() override { std::filesystem::remove_all(dir_); }
  std::string Path(const char* name) const { return (dir_ / name).string(); }
  std::string Write(const std::string& bytes) const {
    std::ofstream(Path("x.profile"), std::ios::binary) << bytes;
    return Path("x.profile");
  }

  const std::filesystem::path dir_ =
      std::filesystem::temp_directory_path() / ("profile_file_test." + std::to_string(getpid()));
};

TEST_F(ProfileFile, ComesBackAsWritten) {
  const ExpertProfile profile = Recorded(SmallModel(), 1, 400);
  ASSERT_EQ(WriteProfile(Path("a.profile"), profile), absl::OkStatus());
  const auto read = ReadProfile(Path("a.profile"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->model, profile.model);
  ASSERT_EQ(read->labels.size(), profile.labels.size());
  for (size_t l = 0; l < profile.labels.size(); ++l) {
    EXPECT_EQ(read->labels[l].name, profile.labels[l].name);
    for (int i = 0; i < kSplits * kPhases; ++i) {
      const RoutingCounts& was = profile.labels[l].counts[i / 2][i % 2];
      const RoutingCounts& is = read->labels[l].counts[i / 2][i % 2];
      EXPECT_EQ(is.tokens, was.tokens);
      EXPECT_EQ(is.hits, was.hits);
      for (size_t cell = 0; cell < was.mass.size(); ++cell)
        EXPECT_EQ(is.mass[cell], static_cast<float>(was.mass[cell]));
    }
  }
  for (int i = 0; i < kRowBuckets; ++i) {
    EXPECT_EQ(read->distinct[i].steps, profile.distinct[i].steps);
    EXPECT_EQ(read->distinct[i].rows, profile.distinct[i].rows);
    EXPECT_EQ(read->distinct[i].distinct, profile.distinct[i].distinct);
  }
  EXPECT_EQ(read->reuse, profile.reuse);
  EXPECT_EQ(read->pair_tokens, profile.pair_tokens);
  ASSERT_EQ(read->pairs.size(), profile.pairs.size());
  for (size_t i = 0; i < profile.pairs.size(); ++i) {
    EXPECT_EQ(read->pairs[i].moe_layer, profile.pairs[i].moe_layer);
    EXPECT_EQ(read->pairs[i].next_layer, profile.pairs[i].next_layer);
    EXPECT_EQ(read->pairs[i].first, profile.pairs[i].first);
    EXPECT_EQ(read->pairs[i].second, profile.pairs[i].second);
    EXPECT_EQ(read->pairs[i].count, profile.pairs[i].count);
  }
  EXPECT_EQ(read->window_tokens, profile.window_tokens);
  ASSERT_GT(profile.windows.size(), 5u);
  ASSERT_EQ(read->windows.size(), profile.windows.size());
  for (size_t i = 0; i < profile.windows.size(); ++i) {
    EXPECT_EQ(read->windows[i].tokens, profile.windows[i].tokens);
    EXPECT_EQ(read->windows[i].hits, profile.windows[i].hits);
  }
  EXPECT_EQ(read->recorded_unix_s, profile.recorded_unix_s);
}

TEST_F(ProfileFile, EveryTruncationAndBitFlipIsRefused) {
  const std::string good = ProfileToBytes(Recorded(SmallModel(2, 6, 2), 2, 20));
  ASSERT_TRUE(ProfileFromBytes(good, "good").ok());
  for (size_t bytes = 0; bytes < good.size(); ++bytes) {
    const auto read = ProfileFromBytes(good.substr(0, bytes), "cut");
    ASSERT_FALSE(read.ok()) << bytes << " of " << good.size();
    ASSERT_THAT(read.status().message(), HasSubstr("cut"));
  }
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    ASSERT_FALSE(ProfileFromBytes(bad, "flipped").ok()) << "bit " << bit;
  }
  EXPECT_FALSE(ProfileFromBytes(good + '\0', "longer").ok());
}

// Past the checksum: a payload that parses, or not, must never be taken for what it is not.
TEST_F(ProfileFile, ASealOverNonsenseDoesNotHelp) {
  constexpr SealedKind kKind = {"profile", 1};
  const ExpertProfile profile = Recorded(SmallModel(2, 6, 2), 3, 20);
  const std::string payload = *Unseal(ProfileToBytes(profile), kKind, "p");
  int taken = 0;
  for (size_t bit = 0; bit < payload.size() * 8; ++bit) {
    std::string bad = payload;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const auto read = ProfileFromBytes(Seal(kKind, bad), "p");
    if (!read.ok()) {
      ASSERT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << read.status();
      continue;
    }
    ++taken;  // another name, another mass: possible profiles
    ASSERT_EQ(CheckProfile(*read), absl::OkStatus());
  }
  EXPECT_GT(taken, 0);
  EXPECT_LT(taken, static_cast<int>(payload.size()) * 8);
}

TEST_F(ProfileFile, RefusalsAreSentences) {
  const std::string good = ProfileToBytes(Recorded(SmallModel(), 4, 20));
  EXPECT_THAT(ReadProfile(Path("none")).status().message(), HasSubstr("no such profile file"));
  EXPECT_THAT(ReadProfile(Write("")).status().message(), HasSubstr("the file is empty"));
  EXPECT_THAT(ReadProfile(Write("hello")).status().message(), HasSubstr("no profile of Tandem"));
  EXPECT_THAT(ReadProfile(Write(Seal({"plan", 1}, "x"))).status().message(),
              HasSubstr("this is a plan of Tandem, not a profile"));
  const auto old = ReadProfile(Write(Seal({"profile", 0}, "x")));
  EXPECT_EQ(old.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(old.status().message(), HasSubstr("has version 0, this program reads 1"));
  EXPECT_THAT(ReadProfile(Write(Seal({"profile", 1}, ""))).status().message(),
              HasSubstr("contradicts itself"));
  const ExpertProfile nothing = ProfileRecorder(SmallModel()).Snapshot();
  EXPECT_THAT(ReadProfile(Write(ProfileToBytes(nothing))).status().message(),
              HasSubstr("it holds no tokens"));
}

TEST_F(ProfileFile, ContradictionsAreFound) {
  const ExpertProfile good = Recorded(SmallModel(), 5, 200);
  ASSERT_EQ(CheckProfile(good), absl::OkStatus());
  const auto expect_refused = [&](const char* why, auto&& change) {
    ExpertProfile bad = good;
    change(bad);
    const absl::Status status = CheckProfile(bad);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << why;
    EXPECT_THAT(status.message(), HasSubstr(why));
  };
  const auto decode = [](ExpertProfile& p) -> RoutingCounts& { return p.labels[0].counts[0][1]; };
  expect_refused("sums up to", [&](auto& p) {
    RoutingCounts& counts = decode(p);
    ++counts.tokens;
  });
  expect_refused("counts too much", [&](auto& p) { ++decode(p).hits[3]; });
  expect_refused("a negative count", [&](auto& p) { decode(p).hits[0] = -1; });
  expect_refused("numbers; expected 64", [&](auto& p) { decode(p).hits.pop_back(); });
  expect_refused("router mass", [&](auto& p) { decode(p).mass[0] = NAN; });
  expect_refused("router mass", [&](auto& p) { decode(p).mass[0] = -1; });
  expect_refused("router masses for", [&](auto& p) { decode(p).mass.push_back(0); });
  expect_refused("twice", [](auto& p) { p.labels[1].name = p.labels[0].name; });
  expect_refused("steps have", [](auto& p) {
    p.distinct[0].steps = p.distinct[0].rows = 0, p.distinct[0].distinct = 0;
  });
  expect_refused("different experts", [](auto& p) { p.distinct[0].distinct *= 2; });
  expect_refused("reuse distances", [](auto& p) { ++p.reuse[0]; });
  expect_refused("pairs of", [](auto& p) { p.pair_tokens = p.tokens() + 1; });
  expect_refused("a pair", [](auto& p) { p.pairs[0].second = 16; });
  expect_refused("a pair",
                 [](auto& p) { p.pairs.back().next_layer = true, p.pairs.back().moe_layer = 3; });
  expect_refused("windows", [](auto& p) { p.windows.pop_back(); });
  expect_refused("windows of 0", [](auto& p) { p.window_tokens = 0; });
  expect_refused("a window", [](auto& p) { --p.windows[0].hits[0], ++p.windows[0].hits[16]; });
  expect_refused("no model", [](auto& p) { p.model.top_k = 17; });
  expect_refused("no model", [](auto& p) { p.model.dense_layers = p.model.layers; });
}

// The size at Kimi K2.6's shape with four labels; docs/placement.md tells the figure.
TEST_F(ProfileFile, SizeOfALargeModelsProfile) {
  const ModelIdentity model = SmallModel(60, 384, 8);
  std::mt19937_64 random(6);
  ProfileRecorder recorder(model);
  for (uint64_t i = 0; i < 16; ++i) {
    const std::string label = "label " + std::to_string(i % 4);
    Tell(model, RandomStep(model, {256, {i / 4, label, Phase::kPrefill}}, random, 1.5), recorder);
    for (int step = 0; step < 4; ++step)
      Tell(model, RandomStep(model, {32, {i / 4, label, Phase::kDecode}}, random, 1.5), recorder);
  }
  const ExpertProfile profile = recorder.Snapshot();
  const std::string bytes = ProfileToBytes(profile);
  std::printf("4 labels, %zu windows: %.2f MB\n", profile.windows.size(), bytes.size() / 1e6);
  EXPECT_LT(bytes.size(), 8e6);
  EXPECT_TRUE(ProfileFromBytes(bytes, "large").ok());
}

}  // namespace
}  // namespace tandem
