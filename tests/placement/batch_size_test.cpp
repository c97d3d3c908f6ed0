#include "placement/batch_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/planner.h"
#include "tests/placement/planner_fixtures.h"

namespace tandem {
namespace {

using testing::HasSubstr;

const ModelShape kKimi = KimiK26Shape();

class BatchSize : public testing::Test {
 protected:
  absl::StatusOr<BatchPrediction> Choose() const {
    return ChooseBatchSize(costs_, where_, job_, limits_);
  }
  BatchPrediction At(int32_t n) const { return PredictBatch(costs_, where_, job_, limits_, n); }

  const RoutingModel even_{kKimi};
  const Machine machine_ = [] {
    Machine m = DescribedMachine(2, 750'000'000'000, 200);
    m.gpu = H100();
    m.rates.step_us = 70, m.rates.row_us = 3;
    return m;
  }();
  const CostModel costs_{kKimi, machine_, 16, true, even_, even_};
  const Residences where_ = Residences(60 * 384, Residence::kRam);
  BatchLoad job_ = {.requests = 100'000, .prompt_tokens = 1024, .answer_tokens = 256};
  BatchRoom limits_ = {.kv_tokens = 10'000'000, .max_sequences = 4096, .chunk_tokens = 512};
};

TEST_F(BatchSize, ADecodeStepAddsUpToTheJob) {
  job_ = {.requests = 1000, .prompt_tokens = 64, .answer_tokens = 100, .cached_share = 1};
  const BatchPrediction p = At(10);
  EXPECT_EQ(p.prompt_s, 0) << "all of the prompts is cached";
  EXPECT_NEAR(p.answer_s, 1000 * 100 / 10 * costs_.Decode(where_, 10, 114).total_s, 1e-6);
  EXPECT_NEAR(p.answer_tok_per_s, 100'000 / p.total_s(), 1e-9);
  EXPECT_NEAR(p.requests_per_s, 1000 / p.total_s(), 1e-9);
}

TEST_F(BatchSize, PromptsAreChargedByTheRow) {
  job_.answer_tokens = 1e-9;
  const double once = costs_.Prefill(where_, 1024, 512, false).total_s;
  EXPECT_NEAR(At(1).prompt_s, job_.requests * once, 1e-6 * At(1).prompt_s);
  job_.cached_share = 0.75;
  EXPECT_NEAR(At(1).prompt_s, job_.requests * once / 4, 1e-6 * At(1).prompt_s);
  // Short prompts share their steps.
  job_ = {.requests = 100'000, .prompt_tokens = 64, .answer_tokens = 1e-9};
  EXPECT_NEAR(At(1).prompt_s / (job_.requests * 64),
              costs_.Prefill(where_, 512, 512, false).total_s / 512, 1e-9);
}

TEST_F(BatchSize, TheFewestWithinTwoPercentOfTheBest) {
  const BatchPrediction chosen = *Choose();
  EXPECT_LE(chosen.sequences, chosen.fit);
  double best_s = chosen.total_s();
  for (int32_t n = 1; n <= 4096; n += n < 64 ? 1 : n / 16)
    best_s = std::min(best_s, At(n).total_s());
  EXPECT_LE(chosen.total_s(), 1.03 * best_s);
  EXPECT_GT(At(chosen.sequences / 2).total_s(), 1.02 * best_s);
  EXPECT_GT(chosen.sequences, 64) << "below that nearly every row reads experts of its own";
  EXPECT_GT(chosen.answer_tok_per_s, 3 * At(1).answer_tok_per_s);
}

TEST_F(BatchSize, KeepsWithinCacheLimitsAndJob) {
  limits_.kv_tokens = 20 * (1024 + 128 + 32);
  EXPECT_EQ(Choose()->fit, 20);
  EXPECT_LE(Choose()->sequences, 20);
  job_.cached_share = 1;  // one prompt for all: held once
  EXPECT_EQ(Choose()->fit, (20 * 1184 - 1024) / (128 + 32));
  limits_.kv_tokens = 10;
  EXPECT_EQ(Choose()->sequences, 1);
  limits_.kv_tokens = 10'000'000;
  limits_.max_sequences = 7;
  EXPECT_LE(Choose()->sequences, 7);
  limits_.max_sequences = 4096;
  job_.requests = 3;
  EXPECT_LE(Choose()->sequences, 3);
}

TEST_F(BatchSize, MoreOfAnythingIsNotSlower) {
  double before_s = 1e30;
  for (const int64_t kv : {2'000, 10'000, 100'000, 1'000'000, 10'000'000}) {
    limits_.kv_tokens = kv;
    const double s = Choose()->total_s();
    EXPECT_LE(s, 1.03 * before_s) << kv;
    before_s = s;
  }
  before_s = 1e30;
  for (const double share : {0.0, 0.3, 0.9, 1.0}) {
    job_.cached_share = share;
    EXPECT_LE(Choose()->total_s(), 1.03 * before_s) << share;
    before_s = Choose()->total_s();
  }
}

TEST_F(BatchSize, APlanSaysTheSame) {
  const Plan plan = *MakePlan(kKimi, IdentityOf(kKimi, "kimi_k2"), machine_, nullptr, {});
  const auto chosen = ChooseBatchSize(kKimi, machine_, plan, {}, {}, job_, limits_);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_GT(chosen->sequences, 64);
  Machine nothing_known = machine_;
  nothing_known.gpu->hbm_gb_per_s = 0;
  EXPECT_FALSE(ChooseBatchSize(kKimi, nothing_known, plan, {}, {}, job_, limits_).ok());
}

TEST_F(BatchSize, SaysWhatIsWrong) {
  const auto message = [&] { return std::string(Choose().status().message()); };
  job_.requests = 0;
  EXPECT_THAT(message(), HasSubstr("requests is 0"));
  job_ = {.requests = 1, .prompt_tokens = 0, .answer_tokens = 1};
  EXPECT_THAT(message(), HasSubstr("prompts' mean length is 0"));
  job_ = {.requests = 1, .prompt_tokens = 1, .answer_tokens = NAN};
  EXPECT_THAT(message(), HasSubstr("answers' mean length"));
  job_ = {.requests = 1, .prompt_tokens = 1, .answer_tokens = 1, .cached_share = 1.5};
  EXPECT_THAT(message(), HasSubstr("cached share of the prompts is 1.5"));
  job_.cached_share = 0;
  limits_.kv_tokens = 0;
  EXPECT_THAT(message(), HasSubstr("cache's size"));
}

}  // namespace
}  // namespace tandem
