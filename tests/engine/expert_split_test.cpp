// Which experts ExpertSplit gives to a device, over a device that only writes down what it is told.
#include "engine/expert_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr int32_t kExperts = 6, kTokens = 8, kTopK = 2;

class FakeDevice : public ExpertDevice {
 public:
  int32_t hot_capacity() const override { return kExperts; }
  bool streams() const override { return can_stream; }
  bool IsHot(LayerId, ExpertId) const override { return false; }
  absl::Status MakeHot(LayerId, ExpertId, const ExpertShards&, const ExpertId*) override {
    return absl::OkStatus();
  }
  absl::Status ReadHot(LayerId, ExpertId, const std::vector<std::span<std::byte>>&) override {
    return absl::OkStatus();
  }
  bool computes_hot_itself() const override { return small_step; }
  absl::Status ComputeExperts(LayerId, int, const RoutedTokens&,
                              std::span<const Work> work) override {
    ++calls;
    hot.clear();
    streamed.clear();
    for (const Work& w : work) (w.bytes == nullptr ? hot : streamed).push_back(w.expert.value);
    return status;
  }
  absl::Status PinHostMemory(std::span<const std::byte>) override { return absl::OkStatus(); }

  bool can_stream = true, small_step = false;
  absl::Status status;
  int calls = 0;
  std::vector<int32_t> hot, streamed;
};

class FakeExperts : public CpuExperts {
 public:
  absl::Status LoadExpert(LayerId, ExpertId, const ExpertWeights&) override {
    return absl::OkStatus();
  }
  void Forward(LayerId, const RoutedTokens&, View<float, 2>) override {}
  std::string kernel_name() const override { return "fake"; }
  int64_t weight_bytes() const override { return 0; }
  int64_t expert_bytes() const override { return 0; }
};

class ExpertSplitTest : public testing::Test {
 protected:
  ExpertSplitTest() {
    shape_.experts = kExperts;
    shape_.top_k = kTopK;
  }
  // Token t goes to experts 0 and 1 + t % 2; expert 5 is hot and has token 0's second choice.
  RoutedTokens Routed() {
    for (int32_t t = 0; t < kTokens; ++t) {
      ids_[t * kTopK] = 0;
      ids_[t * kTopK + 1] = t == 0 ? ~5 : 1 + t % 2;
    }
    return {.hidden = {hidden_, {kTokens, 1}},
            .expert_ids = {ids_, {kTokens, kTopK}},
            .weights = {weights_, {kTokens, kTopK}}};
  }
  ExpertSplit Make(StreamExperts stream, const SplitCosts& costs = {1, 1, 3, 0}) {
    return ExpertSplit(shape_, device_, experts_, {.stream = stream, .costs = costs});
  }
  static std::set<int32_t> Left(const RoutedTokens& routed) {
    std::set<int32_t> left;
    for (int64_t i = 0; i < routed.expert_ids.size(); ++i)
      if (routed.expert_ids.data()[i] >= 0) left.insert(routed.expert_ids.data()[i]);
    return left;
  }

  ModelShape shape_;
  FakeDevice device_;
  FakeExperts experts_;
  bf16 hidden_[kTokens] = {};
  int32_t ids_[kTokens * kTopK] = {};
  float weights_[kTokens * kTopK] = {};
};

TEST_F(ExpertSplitTest, ASmallStepIsTheDevicesOwnBusiness) {
  device_.small_step = true;
  ExpertSplit split = Make(StreamExperts::kAlways);
  const RoutedTokens routed = *split.Split({3}, 0, Routed());
  EXPECT_EQ(device_.calls, 0);
  EXPECT_EQ(routed.expert_ids.data(), ids_) << "nothing is copied";
}

TEST_F(ExpertSplitTest, HotExpertsAreAlwaysNamed) {
  ExpertSplit split = Make(StreamExperts::kNever);
  const RoutedTokens routed = *split.Split({3}, 0, Routed());
  EXPECT_THAT(device_.hot, ElementsAre(5));
  EXPECT_THAT(device_.streamed, IsEmpty());
  EXPECT_THAT(Left(routed), ElementsAre(0, 1, 2));
  EXPECT_EQ(routed.expert_ids(0, 1), ~5);
  device_.can_stream = false;
  ExpertSplit cannot = Make(StreamExperts::kAlways);
  EXPECT_TRUE(cannot.Split({3}, 0, Routed()).ok());
  EXPECT_THAT(device_.streamed, IsEmpty());
}

TEST_F(ExpertSplitTest, TheHeaviestIsSentWhereThatIsFaster) {
  // 8 s for expert 0 on the CPU, 3 s to send; experts 1 and 2 take 3 and 4 s.
  ExpertSplit split = Make(StreamExperts::kAuto);
  const RoutedTokens routed = *split.Split({3}, 0, Routed());
  EXPECT_THAT(device_.streamed, ElementsAre(0, 2));
  EXPECT_THAT(Left(routed), ElementsAre(1));
  EXPECT_EQ(routed.expert_ids(0, 0), ~0);
  EXPECT_EQ(split.streamed_experts(), 2);
}

TEST_F(ExpertSplitTest, AllAreSentOnDemand) {
  ExpertSplit split = Make(StreamExperts::kAlways);
  EXPECT_THAT(Left(*split.Split({3}, 0, Routed())), IsEmpty());
  EXPECT_THAT(device_.streamed, UnorderedElementsAre(0, 1, 2));
}

TEST_F(ExpertSplitTest, WhatTheCpuTakesCorrectsTheGuess) {
  const SplitCosts too_dear = {1, 1, 1000, 0};
  ExpertSplit split = Make(StreamExperts::kAuto, too_dear);
  EXPECT_EQ(Left(*split.Split({3}, 0, Routed())).size(), 3u);
  for (int i = 0; i < 200; ++i) {
    split.NoteCpuSeconds(100000);  // predicted: 15
    ASSERT_TRUE(split.Split({3}, 0, Routed()).ok());
  }
  EXPECT_THAT(device_.streamed, testing::Contains(0));
}

TEST_F(ExpertSplitTest, TheDevicesErrorIsHandedOn) {
  device_.status = absl::UnavailableError("gone");
  ExpertSplit split = Make(StreamExperts::kNever);
  EXPECT_EQ(split.Split({3}, 0, Routed()).status(), device_.status);
}

}  // namespace
}  // namespace tandem
