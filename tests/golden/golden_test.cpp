// Our engine against transformers' own DeepseekV3ForCausalLM in float32, weights dequantised by
// compressed-tensors (README.md says how the goldens were made).
//
// Bounds, as fractions of the reference's logit range at a position:
//  * Exact-activation path (INT8x2 experts, BF16 dense side): kExactBound for every position, and
//    the same greedy tokens. BF16 rounding has a relative error of up to 2^-9, 0.1 % rms; the 10 to
//    20 roundings in a row that BF16 activations mean in these models add up to about 0.5 % of a
//    logit's deviation. transformers itself, made to round its activations so, moves by up to 0.7 %
//    of the range. The host backend rounds less: cached latents and the experts' input.
//  * INT8 activations in groups of 32 have a step of max/127: 0.6 % rms, six times BF16's; INT8
//    weights of the dense side likewise. Where the reference's router is barely decided another
//    expert may be chosen, so a single position can differ by anything; the median is bounded.
#include <gtest/gtest.h>

#include "tests/golden/golden_checks.h"

namespace tandem::golden {
namespace {

constexpr double kExactBound = 0.02;
constexpr double kInt8MedianBound = 0.02;

const char* const kCheckpoints[] = {"nested_k26", "flat_thinking", "grouped_moonlight",
                                    "bf16_experts"};

std::string GoldenPath(const std::string& name) { return DataPath(name + "/golden.safetensors"); }

class RandomCheckpoint : public testing::TestWithParam<const char*> {};

TEST_P(RandomCheckpoint, ExactPathMatchesLogitsAndGreedyTokens) {
  const auto goldens = LoadGoldens(GoldenPath(GetParam()));
  const auto driver = LoadDriver(DataPath(GetParam()), {});
  ASSERT_TRUE(driver != nullptr && goldens.size() == 5);
  CheckGreedy(std::string(GetParam()) + ", exact path", goldens, *driver, kExactBound);
}

TEST_P(RandomCheckpoint, Int8PathsStayNear) {
  const auto goldens = LoadGoldens(GoldenPath(GetParam()));
  const DrivenOptions cases[] = {{DenseDType::kBf16, ExpertActivations::kInt8},
                                 {DenseDType::kInt8, ExpertActivations::kInt8}};
  for (const DrivenOptions& options : cases) {
    const auto driver = LoadDriver(DataPath(GetParam()), options);
    ASSERT_TRUE(driver != nullptr && goldens.size() == 5);
    auto sequences = Sequences(goldens, /*continued=*/true);
    driver->Run(sequences, 64);
    const Deviations deviations = Compare(goldens, sequences, HUGE_VAL);
    const bool int8_dense = options.dense_dtype == DenseDType::kInt8;
    Report(std::string(GetParam()) + ", INT8 activations of experts, " +
               (int8_dense ? "INT8" : "BF16") + " dense side",
           deviations);
    EXPECT_LT(deviations.median(), kInt8MedianBound);
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, RandomCheckpoint, testing::ValuesIn(kCheckpoints),
                         [](const auto& info) { return std::string(info.param); });

// The comparator must be able to fail.
TEST(Comparator, SeesPerturbedLogits) {
  const auto goldens = LoadGoldens(GoldenPath(kCheckpoints[0]));
  ASSERT_FALSE(goldens.empty());
  const std::vector<float>& want = goldens[0].logits[0];
  EXPECT_EQ(Deviate(want, want).fraction, 0);
  const auto [low, high] = std::minmax_element(want.begin(), want.end());
  for (const float sign : {-1.0f, 1.0f}) {
    for (const size_t at : {size_t{0}, want.size() / 2, want.size() - 1}) {
      std::vector<float> got = want;
      got[at] += sign * 0.021f * (*high - *low);
      const Deviation worst = Deviate(got, want);
      EXPECT_GT(worst.fraction, kExactBound);
      EXPECT_EQ(worst.index, static_cast<int64_t>(at));
    }
  }
  std::vector<float> got = want;
  got[7] = std::nanf("");
  EXPECT_EQ(Deviate(got, want).fraction, HUGE_VAL);
  got.assign(want.begin(), want.end() - 1);
  EXPECT_EQ(Deviate(got, want).fraction, HUGE_VAL);
  EXPECT_GT(Deviate(std::vector<float>(want.size(), 0.0f), want).fraction, kExactBound);
}

}  // namespace
}  // namespace tandem::golden
