#include "cpu_experts/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tandem {
namespace {

int Code(const Int4Storage& q, int64_t i) {
  const uint8_t byte = q.packed[i / 2];
  return (i % 2 == 0 ? byte & 15 : byte >> 4) - 8;
}

Int4Storage QuantizeRow(const std::vector<float>& values) {
  std::vector<bf16> row;
  for (float v : values) row.push_back(ToBf16(v));
  return QuantizeInt4({row.data(), {1, static_cast<int64_t>(row.size())}});
}

// Scale 1, so that the values are their own codes; ties go to even, ends are clamped.
TEST(QuantizeInt4, RoundsTiesToEvenAndClamps) {
  std::vector<float> values(32, 0.0f);
  const std::vector<float> given = {7.5f,  -7.5f, 0.5f, 1.5f, 2.5f,
                                    -0.5f, -1.5f, 6.5f, 3.0f, -6.5625f};
  const std::vector<int> expected = {7, -8, 0, 2, 2, 0, -2, 6, 3, -7};
  std::copy(given.begin(), given.end(), values.begin());
  const Int4Storage q = QuantizeRow(values);
  EXPECT_EQ(ToFloat(q.scales[0]), 1.0f);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(Code(q, i), expected[i]) << given[i];
}

TEST(QuantizeInt4, AGroupOfZerosHasAPositiveScale) {
  const Int4Storage q = QuantizeRow(std::vector<float>(64, 0.0f));
  for (bf16 scale : q.scales) EXPECT_GT(ToFloat(scale), 0.0f);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(Code(q, i), 0);
}

// Weights that are none give codes all the same; their group's scale shows it, or what they were is
// lost in the clamp.
TEST(QuantizeInt4, WhatIsNotFiniteGivesCodesInRange) {
  for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
    std::vector<float> values(64, 1.0f);
    values[5] = bad;
    const Int4Storage q = QuantizeRow(values);
    for (int i = 0; i < 32; ++i) EXPECT_TRUE(Code(q, i) >= -8 && Code(q, i) <= 7) << bad;
    EXPECT_EQ(Code(q, 5), -8) << bad;
    EXPECT_EQ(Code(q, 40), 7) << "the next group is what it was";
  }
}

// Against the rule, on random rows of very different sizes.
TEST(QuantizeInt4, FollowsTheRule) {
  constexpr uint64_t kSeed = 5;
  std::mt19937_64 random(kSeed);
  std::normal_distribution<float> normal;
  const int64_t rows = 7, inputs = 160;
  std::vector<bf16> w;
  for (int64_t i = 0; i < rows * inputs; ++i)
    w.push_back(ToBf16(normal(random) * std::ldexp(1.0f, static_cast<int>(i / inputs) * 4 - 12)));
  const Int4Storage q = QuantizeInt4({w.data(), {rows, inputs}});
  ASSERT_EQ(q.matrix().packed.dim(1), inputs / 2);
  for (int64_t g = 0; g < rows * inputs / 32; ++g) {
    float largest = 0.0f;
    for (int64_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(ToFloat(w[g * 32 + i])));
    const float scale = ToFloat(ToBf16(largest / 7.5f));
    ASSERT_EQ(ToFloat(q.scales[g]), scale);
    for (int64_t i = g * 32; i < g * 32 + 32; ++i) {
      const double exact = static_cast<double>(ToFloat(w[i])) / scale;
      const float quotient = ToFloat(ToBf16(static_cast<float>(exact)));  // in the weights' dtype
      EXPECT_EQ(Code(q, i), std::fmin(7, std::fmax(-8, std::nearbyint(quotient))))
          << "weight " << i;
    }
  }
}

}  // namespace
}  // namespace tandem
