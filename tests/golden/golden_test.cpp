// Our engine against transformers' own DeepseekV3ForCausalLM in float32, weights dequantised by
// compressed-tensors (README.md says how the goldens were made).
//
// Bounds, as fractions of the reference's logit range at a position:
//  * Exact-activation path (INT8x2 experts, BF16 dense side): kExactBound for every position, and
//    the same greedy tokens. What is left is BF16 rounding of activations: each matrix input has a
//    relative error of up to 2^-9, about 0.1 % rms; over the 10 to 20 roundings in a row of these
//    models errors add to about 0.5 % of a logit's deviation, 0.2 % of the range. transformers
//    itself, rounding its activations to BF16 in the same places, moves by at most 0.9 %.
//  * INT8 activations in groups of 32 have a step of max/127: 0.6 % rms, six times BF16's; INT8
//    weights of the dense side likewise. The router may then choose another expert where the
//    reference is barely decided, so single positions can differ by anything; the median is
//    bounded.
#include <gtest/gtest.h>

#include "tests/golden/compare.h"
#include "tests/golden/golden_file.h"
#include "tests/golden/model_driver.h"

namespace tandem::golden {
namespace {

constexpr double kExactBound = 0.02;
constexpr double kInt8MedianBound = 0.03;
constexpr int32_t kSteps = 32;

const char* const kCheckpoints[] = {"nested_k26", "flat_thinking", "grouped_moonlight",
                                    "bf16_experts"};

std::vector<GoldenSequence> Goldens(const std::string& name) {
  auto file = GoldenFile::Open(DataPath(name + "/golden.safetensors"));
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? ReadSequences(*file) : std::vector<GoldenSequence>{};
}

std::unique_ptr<ModelDriver> Load(const std::string& name, const DrivenOptions& options) {
  auto driver = ModelDriver::Load(DataPath(name), options);
  EXPECT_TRUE(driver.ok()) << driver.status();
  return driver.ok() ? *std::move(driver) : nullptr;
}

// The prompts alone, or with the reference's own continuation (all but its last token).
std::vector<DrivenSequence> Sequences(const std::vector<GoldenSequence>& goldens, bool continued) {
  std::vector<DrivenSequence> sequences;
  for (const GoldenSequence& golden : goldens) {
    DrivenSequence& sequence = sequences.emplace_back();
    sequence.ids = golden.prompt;
    if (continued) {
      sequence.ids.insert(sequence.ids.end(), golden.greedy.begin(), golden.greedy.end() - 1);
    }
    sequence.wanted.insert(golden.positions.begin(), golden.positions.end());
  }
  return sequences;
}

Deviations Compare(const std::vector<GoldenSequence>& goldens,
                   const std::vector<DrivenSequence>& sequences, double bound) {
  Deviations deviations;
  for (size_t s = 0; s < goldens.size(); ++s) {
    for (size_t i = 0; i < goldens[s].positions.size(); ++i) {
      const int32_t position = goldens[s].positions[i];
      const auto got = sequences[s].logits.find(position);
      if (got == sequences[s].logits.end()) {
        ADD_FAILURE() << "no logits for sequence " << s << ", position " << position;
        continue;
      }
      const Deviation worst = Deviate(got->second, goldens[s].logits[i]);
      EXPECT_LT(worst.fraction, bound) << "sequence " << s << " of " << goldens[s].prompt.size()
                                       << " tokens, position " << position << ", id " << worst.index
                                       << ": got " << worst.got << ", reference " << worst.want;
      deviations.Add(worst.fraction);
    }
  }
  return deviations;
}

void Report(const std::string& what, const Deviations& deviations) {
  std::printf("%s: max |delta logit| %.3f %% of the range, median %.3f %%, %zu positions\n",
              what.c_str(), 100 * deviations.worst(), 100 * deviations.median(),
              deviations.count());
}

class RandomCheckpoint : public testing::TestWithParam<const char*> {};

// Greedy decoding from the prompts: first the long prompt alone, then all five together. How the
// work is cut into steps and who shares them must not change a bit.
TEST_P(RandomCheckpoint, ExactPathMatchesLogitsAndGreedyTokens) {
  const auto goldens = Goldens(GetParam());
  const auto driver = Load(GetParam(), {});
  ASSERT_TRUE(driver != nullptr && goldens.size() == 5);
  std::map<int32_t, std::vector<float>> first_logits;
  for (const size_t batch : {1, 5}) {
    const std::vector<GoldenSequence> some(goldens.begin(), goldens.begin() + batch);
    for (const int32_t chunk : {300, 64, 17}) {
      SCOPED_TRACE("batch " + std::to_string(batch) + ", chunk " + std::to_string(chunk));
      auto sequences = Sequences(some, /*continued=*/false);
      driver->Greedy(sequences, chunk, kSteps);
      for (size_t s = 0; s < some.size(); ++s) {
        const std::vector<int32_t> got(sequences[s].ids.end() - kSteps, sequences[s].ids.end());
        EXPECT_EQ(got, some[s].greedy) << "greedy tokens of sequence " << s;
      }
      if (first_logits.empty()) first_logits = sequences[0].logits;
      EXPECT_TRUE(sequences[0].logits == first_logits) << "other bits than alone in one chunk";
      Report(std::string(GetParam()) + " exact, batch " + std::to_string(batch) + ", chunk " +
                 std::to_string(chunk),
             Compare(some, sequences, kExactBound));
    }
  }
}

TEST_P(RandomCheckpoint, Int8PathsStayNear) {
  const auto goldens = Goldens(GetParam());
  const DrivenOptions cases[] = {{DenseDType::kBf16, ExpertActivations::kInt8},
                                 {DenseDType::kInt8, ExpertActivations::kInt8}};
  for (const DrivenOptions& options : cases) {
    const auto driver = Load(GetParam(), options);
    ASSERT_TRUE(driver != nullptr && goldens.size() == 5);
    auto sequences = Sequences(goldens, /*continued=*/true);
    driver->Run(sequences, 64);
    const Deviations deviations = Compare(goldens, sequences, HUGE_VAL);
    const bool int8_dense = options.dense_dtype == DenseDType::kInt8;
    Report(std::string(GetParam()) + " INT8 experts, " + (int8_dense ? "INT8" : "BF16") + " dense",
           deviations);
    EXPECT_LT(deviations.median(), kInt8MedianBound);
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, RandomCheckpoint, testing::ValuesIn(kCheckpoints),
                         [](const auto& info) { return std::string(info.param); });

// The comparator must be able to fail.
TEST(Comparator, SeesPerturbedLogits) {
  const auto goldens = Goldens(kCheckpoints[0]);
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
  EXPECT_EQ(Deviate(std::vector<float>(want.size(), 0.0f), want).fraction > kExactBound, true);
}

}  // namespace
}  // namespace tandem::golden
