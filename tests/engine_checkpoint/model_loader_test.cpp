#include "engine/checkpoint/model_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>

#include "engine/checkpoint/weight_reader.h"
#include "tests/engine_checkpoint/synth_checkpoints.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// Notes which layers arrive; everything else of the interface is not called by a load.
class RecordingDense : public DenseBackend {
 public:
  std::vector<int32_t> layers;
  int globals = 0;

  absl::Status LoadGlobals(const GlobalWeights& weights) override {
    EXPECT_FALSE(weights.embedding.empty() || weights.final_norm.empty() || weights.head.empty());
    ++globals;
    return absl::OkStatus();
  }
  absl::Status LoadLayer(LayerId layer, const LayerWeights& weights) override {
    EXPECT_FALSE(weights.attention.kv_b.empty());
    EXPECT_NE(weights.dense.gate.empty(), weights.router.gate.empty());
    layers.push_back(layer.value);
    return absl::OkStatus();
  }
  absl::Status BeginStep(const StepBatch&) override { return absl::OkStatus(); }
  void Attention(LayerId, int) override {}
  void DenseMlp(LayerId, int) override {}
  void Route(LayerId, int) override {}
  void SharedExperts(LayerId, int) override {}
  absl::StatusOr<RoutedTokens> Routed(LayerId, int) override { return RoutedTokens{}; }
  View<float, 2> ExpertSums(int) override { return {}; }
  void AddExperts(LayerId, int) override {}
  absl::StatusOr<View<const float, 2>> Logits(std::span<const int32_t>) override {
    return View<const float, 2>();
  }
  void CopyPage(int32_t, int32_t) override {}
  int64_t weight_bytes() const override { return 0; }
  int64_t kv_bytes() const override { return 0; }
  std::string description() const override { return "recording"; }
};

// Compares each expert with what a reader hands out directly; refuses one if told so.
class RecordingExperts : public CpuExperts {
 public:
  explicit RecordingExperts(const Checkpoint& checkpoint) : reader_(checkpoint) {}
  std::set<std::pair<int32_t, int32_t>> seen;
  ExpertId refuse{-1};

  absl::Status LoadExpert(LayerId layer, ExpertId expert, const ExpertWeights& weights) override {
    if (expert == refuse) return absl::ResourceExhaustedError("no room for this expert");
    const auto direct = reader_.Expert(layer, expert);
    EXPECT_TRUE(direct.ok()) << direct.status();
    const auto& a = weights.up.packed;
    const auto& b = direct->weights.up.packed;
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size()), 0) << layer.value << "," << expert.value;
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(seen.emplace(layer.value, expert.value).second) << "loaded twice";
    return absl::OkStatus();
  }
  void Forward(LayerId, const RoutedTokens&, View<float, 2>) override {}
  std::string kernel_name() const override { return "recording"; }
  int64_t weight_bytes() const override { return 0; }
  int64_t expert_bytes() const override { return 0; }

 private:
  WeightReader reader_;
  std::mutex mutex_;
};

class ModelLoaderTest : public testing::Test {
 protected:
  void Open(const SynthModel& model) {
    WriteCheckpoint(dir_.path(), model);
    checkpoint_ = OpenCheckpoint(dir_.path());
    ASSERT_NE(checkpoint_, nullptr);
  }
  TempDir dir_;
  std::unique_ptr<Checkpoint> checkpoint_;
  WorkerTeam team_{{.workers = 3}};
};

TEST_F(ModelLoaderTest, DeliversEveryPartOnce) {
  for (const SynthModel& model : {SmallModel(), MoonlightLike(), DeepSeekLike()}) {
    Open(model);
    RecordingDense dense;
    RecordingExperts experts(*checkpoint_);
    std::atomic<int64_t> most{0}, total{0};
    const auto progress = [&](int64_t done, int64_t all) {
      EXPECT_LE(done, all);
      total = all;
      for (int64_t old = most; done > old && !most.compare_exchange_weak(old, done);) continue;
    };
    const absl::Status status =
        LoadModel(*checkpoint_, &dense, &experts, team_, {.progress = progress});
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(dense.globals, 1);
    EXPECT_EQ(dense.layers, (std::vector<int32_t>{0, 1, 2}));
    EXPECT_EQ(experts.seen.size(), 2u * model.shape.experts);
    EXPECT_EQ(total, checkpoint_->total_bytes());
    EXPECT_EQ(most, total);
  }
}

TEST_F(ModelLoaderTest, LoadsOneSideAlone) {
  Open(SmallModel());
  RecordingExperts experts(*checkpoint_);
  ASSERT_TRUE(LoadModel(*checkpoint_, nullptr, &experts, team_).ok());
  EXPECT_EQ(experts.seen.size(), 10u);
  RecordingDense dense;
  ASSERT_TRUE(LoadModel(*checkpoint_, &dense, nullptr, team_).ok());
  EXPECT_EQ(dense.layers.size(), 3u);
}

TEST_F(ModelLoaderTest, StopsAtTheFirstError) {
  Open(SmallModel());
  RecordingExperts experts(*checkpoint_);
  experts.refuse = {1};
  const absl::Status status = LoadModel(*checkpoint_, nullptr, &experts, team_);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no room for this expert"));
  for (const auto& [layer, expert] : experts.seen) EXPECT_EQ(layer, 1) << "went on after the error";
}

TEST_F(ModelLoaderTest, ShapeOfTheExperts) {
  const ExpertsShape shape = ExpertsShapeOf(SmallModel().shape);
  EXPECT_EQ(shape.experts, (std::vector<int32_t>{0, 5, 5}));
  EXPECT_EQ(shape.hidden, 96);
  EXPECT_EQ(shape.intermediate, 64);
  EXPECT_EQ(shape.top_k, 2);
}

TEST(Progress, SaysRateAndTimeLeft) {
  EXPECT_EQ(ProgressText("loading", 2'500'000'000, 10'000'000'000, 5.0),
            "loading 2.5 GB of 10.0 GB (25 %), 0.50 GB/s, 15 s left");
  EXPECT_EQ(ProgressText("loading", 1'000'000'000, 594'000'000'000, 1.0),
            "loading 1.0 GB of 594.0 GB (0 %), 1.00 GB/s, 9 min 53 s left");
  EXPECT_EQ(ProgressText("writing", 42'000'000, 42'000'000, 0.5),
            "writing 42.0 MB of 42.0 MB (100 %), 0.08 GB/s, took 1 s");
}

}  // namespace
}  // namespace tandem
