// What an observer hears of the engine's steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "engine/routing_fan_out.h"

namespace tandem {
namespace {

struct Heard : RoutingObserver {
  void BeginStep(std::span<const RoutedRow> rows) override { begun += std::ssize(rows); }
  void Routed(LayerId, int32_t, View<const int32_t, 2> ids, View<const float, 2>) override {
    routed += ids.dim(0);
  }
  void EndStep() override { ++ended; }
  int64_t begun = 0, routed = 0, ended = 0;
};

TEST(RoutingFanOut, CountsHotPairsByPhaseAndTellsEverybody) {
  RoutingFanOut fan_out;
  const auto first = std::make_shared<Heard>(), second = std::make_shared<Heard>();
  fan_out.Add(first);
  fan_out.Add(second);
  const std::vector<RoutedRow> rows = {{0, "", Phase::kDecode}, {1, "", Phase::kPrefill}};
  const std::vector<int32_t> ids = {3, ~1, ~0};  // two rows' worth, the last row first of part two
  const std::vector<float> weights(3, 1.0f);
  fan_out.BeginStep(rows);
  fan_out.Routed({1}, 0, {ids.data(), {1, 2}}, {weights.data(), {1, 2}});
  fan_out.Routed({1}, 1, {ids.data() + 1, {1, 2}}, {weights.data(), {1, 2}});
  fan_out.EndStep();
  fan_out.Remove(first.get());
  fan_out.BeginStep(rows);
  fan_out.EndStep();
  EXPECT_THAT(fan_out.pairs().all, testing::ElementsAre(2, 2));
  EXPECT_THAT(fan_out.pairs().hot, testing::ElementsAre(2, 1));
  EXPECT_EQ(first->begun, 2);
  EXPECT_EQ(first->routed, 2);
  EXPECT_EQ(first->ended, 1);
  EXPECT_EQ(second->ended, 2);
}

}  // namespace
}  // namespace tandem
