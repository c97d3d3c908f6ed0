#include "gpu_attention/host/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <vector>

namespace tandem {
namespace {

using testing::ElementsAre;

struct Choice {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

Choice Choose(const ModelShape& s, const std::vector<float>& logits,
              const std::vector<float>& bias) {
  Choice c{std::vector<int32_t>(s.top_k), std::vector<float>(s.top_k)};
  std::vector<float> scratch(s.experts);
  ChooseExperts(s, logits, bias, scratch, c.ids, c.weights);
  return c;
}

ModelShape Shape(int32_t experts, int32_t top_k) {
  ModelShape s;
  s.experts = experts;
  s.top_k = top_k;
  return s;
}

TEST(Router, BiasChoosesAndNeverWeighs) {
  ModelShape s = Shape(8, 3);
  s.routed_scaling = 2.827f;
  const Choice c = Choose(s, {2, 1, 0, -1, 0.5, 1.5, -2, 0.25}, {0, 0.5, 0.1, 0, 0, -0.3, 0.9, 0});
  EXPECT_THAT(c.ids, ElementsAre(1, 6, 0));
  EXPECT_NEAR(c.weights[0], 1.1938952, 1e-6);
  EXPECT_NEAR(c.weights[1], 0.19467086, 1e-6);
  EXPECT_NEAR(c.weights[2], 1.4384338, 1e-6);
}

TEST(Router, LowerIndexWinsTies) {
  const Choice c = Choose(Shape(6, 4), {1, 3, 3, 1, 3, 1}, std::vector<float>(6));
  EXPECT_THAT(c.ids, ElementsAre(1, 2, 4, 0));
}

TEST(Router, WithoutNormalisationWeightsAreScaledSigmoids) {
  ModelShape s = Shape(2, 2);
  s.norm_top_k = false;
  s.routed_scaling = 2;
  const Choice c = Choose(s, {0, -100}, {0, 0});
  EXPECT_NEAR(c.weights[0], 1.0, 1e-6);
  EXPECT_NEAR(c.weights[1], 0.0, 1e-6);
}

TEST(Router, AllWeightsVanishingStaysFinite) {
  const Choice c = Choose(Shape(4, 2), {-200, -200, -200, -200}, {0, 0, 1, 2});
  EXPECT_THAT(c.ids, ElementsAre(3, 2));
  EXPECT_EQ(c.weights[0], 0.0f);
}

TEST(Router, OnlyTheBestGroupsCompete) {
  ModelShape s = Shape(8, 2);
  s.expert_groups = 4;
  s.top_k_groups = 1;
  // Group 1 has the best single expert, group 3 the best two together.
  const Choice c = Choose(s, {0, 0, 4, -9, 0, 0, 3, 2}, std::vector<float>(8));
  EXPECT_THAT(c.ids, ElementsAre(6, 7));
}

// A damaged model's numbers must not become addresses, nor one expert all of a token's.
TEST(Router, NotANumberStillNamesDistinctExperts) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const int32_t groups : {1, 24}) {
    ModelShape s = Shape(48, 4);
    s.expert_groups = groups;
    s.top_k_groups = groups == 1 ? 1 : 3;
    for (const float bad : {kNan, kInf, -kInf}) {
      for (const bool all : {true, false}) {
        for (const bool in_bias : {true, false}) {
          std::vector<float> logits(48), bias(48);
          auto& spoilt = in_bias ? bias : logits;
          for (size_t e = 0; e < spoilt.size(); e += all ? 1 : 5) spoilt[e] = bad;
          const Choice c = Choose(s, logits, bias);
          EXPECT_EQ(std::set<int32_t>(c.ids.begin(), c.ids.end()).size(), 4u) << bad << all;
          for (const int32_t id : c.ids) EXPECT_TRUE(id >= 0 && id < 48) << id;
        }
      }
    }
  }
}

}  // namespace
}  // namespace tandem
