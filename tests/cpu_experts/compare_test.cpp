// A comparator that passes wrong data would make every other test here worthless.
#include <gtest/gtest.h>

#include <limits>

#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {
namespace {

constexpr uint64_t kSeed = 9;

class Comparator : public testing::TestWithParam<ExpertActivations> {
 protected:
  const MoeCaseShape shape_ = {"compare", 4, 96, 64, 4, 2};
  const MoeCase case_{shape_, kSeed};
  const Expected expected_ = Reference(case_, GetParam());
  const std::vector<float> good_{expected_.y.begin(), expected_.y.end()};
};

TEST_P(Comparator, AcceptsTheAnswerAndRefusesDamage) {
  EXPECT_EQ(Compare(expected_, good_), "");
  auto damaged = [&](auto damage) {
    std::vector<float> y = good_;
    damage(y);
    return Compare(expected_, y);
  };
  EXPECT_NE(damaged([](auto& y) { y.assign(y.size(), 0.0f); }), "");
  EXPECT_NE(damaged([](auto& y) { y[5] = std::numeric_limits<float>::quiet_NaN(); }), "");
  EXPECT_NE(damaged([](auto& y) { y[5] = std::numeric_limits<float>::infinity(); }), "");
  EXPECT_NE(damaged([](auto& y) { y.pop_back(); }), "");
  EXPECT_NE(damaged([&](auto& y) { y[7] += 1.5f * expected_.tolerance[7]; }), "");
  EXPECT_NE(damaged([](auto& y) {
              for (float& v : y) v = -v;
            }),
            "");
  EXPECT_NE(damaged([](auto& y) { std::swap_ranges(y.begin(), y.begin() + 96, y.begin() + 96); }),
            "");
}

// A layer that is nearly right must be told from the right one.
TEST_P(Comparator, RefusesNearlyRightLayers) {
  auto answer_of = [&](auto change) {
    MoeCase c = case_;
    change(c);
    const std::vector<double> y = Reference(c, GetParam()).y;
    return Compare(expected_, {y.begin(), y.end()});
  };
  EXPECT_NE(answer_of([](MoeCase& c) { c.ids[0] = -1; }), "") << "a slot left out";
  EXPECT_NE(answer_of([](MoeCase& c) { std::swap(c.gate[0], c.up[0]); }), "") << "gate for up";
  EXPECT_NE(answer_of([](MoeCase& c) {
              for (uint8_t& byte : c.down[1].packed) byte = byte << 4 | byte >> 4;
            }),
            "")
      << "nibbles swapped";
  EXPECT_NE(answer_of([](MoeCase& c) {
              for (bf16& s : c.up[2].scales) s = ToBf16(1.1f * ToFloat(s));
            }),
            "")
      << "scales 10 % off";
}

INSTANTIATE_TEST_SUITE_P(Modes, Comparator,
                         testing::Values(ExpertActivations::kInt8, ExpertActivations::kInt8x2,
                                         ExpertActivations::kBf16),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace tandem::test
