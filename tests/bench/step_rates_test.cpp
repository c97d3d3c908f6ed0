#include "bench/step_rates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "bench/predictions.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::string ModelDir() {
  const char* dir = std::getenv("TANDEM_SOURCE_DIR");
  return std::string(dir ? dir : ".") + "/tests/golden/data/nested_k26";
}

absl::StatusOr<EngineParts> Parts(const StepRatesOptions& options) {
  return CreateEngineParts({.model_dir = ModelDir(),
                            .threads = 2,
                            .kv_tokens = StepRatesKvTokens(options),
                            .max_step_tokens = 32,
                            .max_sequences = 4});
}

TEST(StepRates, OneRateForEveryPromptBatchAndContext) {
  const StepRatesOptions options = {
      .batches = {1, 3}, .contexts = {8, 70}, .steps = 2, .prefill_s = 0};
  auto parts = Parts(options);
  ASSERT_TRUE(parts.ok()) << parts.status();
  const auto rates = MeasureStepRates(*parts, options);
  ASSERT_TRUE(rates.ok()) << rates.status();
  ASSERT_EQ(rates->size(), 2u + 4u);
  EXPECT_EQ((*rates)[1].batch, 0);
  EXPECT_EQ((*rates)[1].context, 70);
  for (const StepRate& rate : *rates) {
    EXPECT_GT(rate.tok_per_s, 0);
    if (rate.batch == 0) continue;
    EXPECT_GT(rate.mean_cached, rate.context);
    EXPECT_LT(rate.mean_cached, rate.context + 8);
  }
}

TEST(StepRates, SaysWhatDoesNotFit) {
  StepRatesOptions options = {.batches = {2}, .contexts = {64}, .steps = 2};
  auto parts = Parts(options);
  ASSERT_TRUE(parts.ok()) << parts.status();
  const auto message = [&] {
    return std::string(MeasureStepRates(*parts, options).status().message());
  };
  options.batches = {5};
  EXPECT_THAT(message(), HasSubstr("batch 5 is more than the 4 sequences"));
  options.batches = {4};
  EXPECT_THAT(message(), HasSubstr("pages of latent cache"));
  options.contexts = {int64_t{1} << 23};
  EXPECT_THAT(message(), HasSubstr("positions"));
  options.contexts = {};
  EXPECT_THAT(message(), HasSubstr("at least one"));
}

TEST(StepRates, MediansOfRounds) {
  const std::vector<std::vector<StepRate>> rounds = {{{.batch = 1, .tok_per_s = 10}},
                                                     {{.batch = 1, .tok_per_s = 30}},
                                                     {{.batch = 1, .tok_per_s = 12}}};
  const auto medians = MedianRates(rounds);
  ASSERT_EQ(medians.size(), 1u);
  EXPECT_EQ(medians[0].tok_per_s, 12);
  EXPECT_NEAR(medians[0].spread, 20.0 / 12, 1e-12);
}

// Twice the time on one of two machines: the mean of the times.
TEST(Predictions, SeveralMeasurementsOfAMachineAreAveraged) {
  PredictionInput input;
  input.shape = {.hidden = 64,
                 .layers = 1,
                 .dense_layers = 1,
                 .dense_intermediate = 64,
                 .vocab = 64,
                 .heads = 2,
                 .kv_lora_rank = 32,
                 .qk_nope_dim = 16,
                 .qk_rope_dim = 16,
                 .v_dim = 16};
  Machine slow;
  slow.nodes = {{.read_gb_per_s = 1}};
  slow.rates.dense_gflops = 1;
  Machine fast = slow;
  fast.nodes[0].read_gb_per_s = 2;
  fast.rates.dense_gflops = 2;
  const double s = PredictRate(input, slow, 1, 10), f = PredictRate(input, fast, 1, 10);
  EXPECT_NEAR(f / s, 2, 1e-9);
  EXPECT_NEAR(PredictRate(input, {slow, fast}, 1, 10), 2 / (1 / s + 1 / f), 1e-9 * f);
}

}  // namespace
}  // namespace tandem
