// Routing traces: what is observed comes back, what is damaged is refused.
#include "placement/routing_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "placement/sealed_file.h"
#include "tests/placement/random_routing.h"

namespace tandem {
namespace {

using testing::HasSubstr;

class RoutingTraceFile : public testing::Test {
 protected:
  RoutingTraceFile() { std::filesystem::create_directories(dir_); }
  ~RoutingTraceFile() override { std::filesystem::remove_all(dir_); }

  std::vector<FakeStep> Write(const ModelIdentity& model, uint64_t seed, int n_steps) {
    std::mt19937_64 random(seed);
    std::vector<FakeStep> steps = RandomSteps(model, n_steps, random);
    auto writer = *TraceWriter::Create(path_, model);
    for (const FakeStep& step : steps) {
      const auto rows = static_cast<int32_t>(step.rows.size());
      writer->BeginStep(step.rows);  // fails at once, and is forgotten
      Tell(model, step, *writer, rows / 2);
    }
    EXPECT_EQ(writer->Finish(), absl::OkStatus());
    return steps;
  }
  std::string Bytes() const {
    std::ostringstream all;
    all << std::ifstream(path_, std::ios::binary).rdbuf();
    return all.str();
  }
  absl::Status Read(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
    return ReadRoutingTrace(path_).status();
  }

  const std::filesystem::path dir_ =
      std::filesystem::temp_directory_path() / ("routing_trace_test." + std::to_string(getpid()));
  const std::string path_ = (dir_ / "a.trace").string();
};

TEST_F(RoutingTraceFile, ComesBackAsObserved) {
  const ModelIdentity model = SmallModel();
  const std::vector<FakeStep> steps = Write(model, 1, 50);
  const auto trace = ReadRoutingTrace(path_);
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->model, model);
  ASSERT_EQ(trace->steps.size(), steps.size());
  int64_t tokens = 0;
  for (size_t s = 0; s < steps.size(); ++s) {
    const TraceStep& step = trace->steps[s];
    ASSERT_EQ(step.rows.size(), steps[s].rows.size());
    tokens += std::ssize(step.rows);
    for (size_t row = 0; row < step.rows.size(); ++row) {
      EXPECT_EQ(step.rows[row].sequence, steps[s].rows[row].sequence);
      EXPECT_EQ(step.rows[row].phase, steps[s].rows[row].phase);
      for (int layer = 0; layer < 4; ++layer) {
        for (int k = 0; k < 3; ++k) {
          const int32_t id = steps[s].ids[layer][row * 3 + k];
          EXPECT_EQ(step.ids[(row * 4 + layer) * 3 + k], id < 0 ? ~id : id);
        }
      }
    }
  }
  EXPECT_EQ(trace->tokens(), tokens);
}

TEST_F(RoutingTraceFile, IsAsSmallAsPromised) {
  const ModelIdentity model = SmallModel(60, 384, 8);
  std::mt19937_64 random(2);
  auto writer = *TraceWriter::Create(path_, model);
  for (int i = 0; i < 4; ++i)
    Tell(model, RandomStep(model, {100, {0, "", Phase::kPrefill}}, random), *writer);
  ASSERT_EQ(writer->Finish(), absl::OkStatus());
  EXPECT_NEAR(static_cast<double>(Bytes().size()) / 400, 960 + 5, 1);
}

TEST_F(RoutingTraceFile, EveryTruncationAndBitFlipIsRefused) {
  Write(SmallModel(1, 6, 1), 3, 2);
  const std::string good = Bytes();
  ASSERT_EQ(Read(good), absl::OkStatus());
  for (size_t bytes = 0; bytes < good.size(); ++bytes)
    ASSERT_FALSE(Read(good.substr(0, bytes)).ok()) << bytes << " of " << good.size();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    ASSERT_FALSE(Read(bad).ok()) << "bit " << bit;
  }
  EXPECT_FALSE(Read(good + good).ok());
}

TEST_F(RoutingTraceFile, RefusalsNameTheStep) {
  Write(SmallModel(), 4, 20);
  const std::string good = Bytes();
  const absl::Status cut = Read(good.substr(0, good.size() - 30));
  EXPECT_EQ(cut.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(cut.message(), HasSubstr("step 19: it is cut short"));
  std::string damaged = good;
  damaged[good.size() - 30] ^= 1;
  EXPECT_THAT(Read(damaged).message(), HasSubstr("step 19: it is damaged"));
  EXPECT_THAT(Read("").message(), HasSubstr("empty"));
  EXPECT_THAT(Read("PNG").message(), HasSubstr("no trace of Tandem"));
  EXPECT_THAT(Read(Seal({"plan", 1}, "x")).message(), HasSubstr("another file of Tandem"));
  std::string old = good;
  old[13] = 0;
  EXPECT_EQ(Read(old).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadRoutingTrace((dir_ / "none").string()).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(RoutingTraceFile, WithoutFinishThereIsNoFile) {
  const ModelIdentity model = SmallModel();
  std::mt19937_64 random(5);
  {
    auto writer = *TraceWriter::Create(path_, model);
    Tell(model, RandomStep(model, {{0, "", Phase::kDecode}}, random), *writer);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
  EXPECT_EQ(TraceWriter::Create("/no/such/folder/a.trace", model).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(RoutingTraceFile, AFullDiskIsTold) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const ModelIdentity model = SmallModel();
  std::filesystem::create_symlink("/dev/full", path_ + "." + std::to_string(getpid()) + ".part");
  std::mt19937_64 random(6);
  auto writer = *TraceWriter::Create(path_, model);
  for (int i = 0; i < 100; ++i)
    Tell(model, RandomStep(model, {50, {0, "", Phase::kPrefill}}, random), *writer);
  EXPECT_THAT(writer->Finish().message(), HasSubstr("No space left"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace tandem
