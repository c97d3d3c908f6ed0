#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/engine/scheduler_driver.h"

namespace tandem {
namespace {

using Driver = testing::SchedulerDriver;

TEST(Scheduler, PromptsAreCutAtTheSamePlacesWhateverElseRuns) {
  for (int others : {0, 1, 7}) {
    Driver driver({.prefill_chunk = 128, .max_sequences = 16}, 1000);
    for (int i = 0; i < others; ++i) driver.Add(50 + 37 * i, 20);
    driver.Step();
    const int mine = driver.Add(300, 3);
    for (int i = 0; i < others; ++i) driver.Add(10 + 41 * i, 20);
    driver.RunAll();
    EXPECT_EQ(driver.outcomes_[mine].chunks, (std::vector<int32_t>{128, 128, 44})) << others;
    EXPECT_EQ(driver.outcomes_[mine].tokens, 3);
    EXPECT_EQ(driver.outcomes_[mine].finish, FinishReason::kLength);
  }
}

TEST(Scheduler, DecodeRowsComeInEveryStepBesideAPrefill) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 4}, 100);
  const int decoding = driver.Add(10, 50);
  driver.Step();
  const int prompt = driver.Add(640, 5);
  for (int step = 0; step < 10; ++step)
    EXPECT_EQ(driver.Step(), (std::vector<int>{decoding, prompt})) << "step " << step;
  EXPECT_EQ(driver.outcomes_[decoding].tokens, 11);
  EXPECT_EQ(driver.outcomes_[prompt].tokens, 1);
}

TEST(Scheduler, AStepStaysWithinItsBudget) {
  Driver driver({.prefill_chunk = 100, .max_sequences = 8}, 1000);
  std::mt19937 random(3);
  for (int i = 0; i < 60; ++i) driver.Add(1 + random() % 250, 1 + random() % 30);
  while (driver.scheduler_.running() + driver.scheduler_.waiting().size() > 0) {
    driver.Step();
    ASSERT_LE(driver.prefill_rows_, 100);
    ASSERT_LE(driver.rows_, 108);
    ASSERT_LE(driver.scheduler_.running(), 8);
  }
}

TEST(Scheduler, AShortPromptDoesNotWaitForALongOne) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 4}, 1000);
  const int big = driver.Add(6400, 1);
  driver.Step();
  const int small = driver.Add(64, 1);
  driver.Step();
  driver.Step();
  EXPECT_EQ(driver.outcomes_[small].finish, FinishReason::kLength);
  EXPECT_FALSE(driver.outcomes_[big].finish.has_value());
}

TEST(Scheduler, AdmissionIsInOrderOfArrival) {
  Driver driver({.prefill_chunk = 1000, .max_sequences = 64}, 10);
  const int first = driver.Add(64 * 8, 5);
  const int large = driver.Add(64 * 9, 5);  // does not fit beside the first
  const int small = driver.Add(10, 5);      // would fit, but may not overtake
  driver.Step();
  EXPECT_EQ(driver.scheduler_.running(), 1);
  driver.RunAll();
  EXPECT_LT(driver.outcomes_[first].admitted_at_step, driver.outcomes_[large].admitted_at_step);
  EXPECT_LE(driver.outcomes_[large].admitted_at_step, driver.outcomes_[small].admitted_at_step);
  EXPECT_EQ(driver.outcomes_[small].tokens, 5);
}

TEST(Scheduler, RequestsWithoutALimitRunTogetherWhenOneContextFits) {
  // Each may claim 10 pages of 12, but only needs one: a reservation would run them in turn.
  Driver driver({.prefill_chunk = 100, .max_sequences = 64}, 13);
  for (int i = 0; i < 3; ++i) driver.Add(20, 0, /*context=*/640);
  driver.Step();
  EXPECT_EQ(driver.scheduler_.running(), 3);
  driver.RunAll();
  for (const auto& outcome : driver.outcomes_) EXPECT_EQ(outcome.tokens, 620);
}

TEST(Scheduler, ATightCacheNeverLocksUp) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    Driver driver({.prefill_chunk = 96, .max_sequences = 12}, 12);
    std::vector<int> wanted;
    for (int i = 0; i < 40; ++i) {
      const int prompt = 1 + random() % 400, max_tokens = 1 + random() % 300;
      driver.Add(prompt, max_tokens);
      wanted.push_back(max_tokens);
    }
    driver.RunAll();
    for (int i = 0; i < 40; ++i) {
      EXPECT_EQ(driver.outcomes_[i].tokens, wanted[i]) << "request " << i << ", seed " << seed;
      EXPECT_EQ(driver.outcomes_[i].finish, FinishReason::kLength);
    }
  }
}

TEST(Scheduler, CancelsWhileWaitingPrefillingAndDecoding) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 2}, 100);
  const int decoding = driver.Add(5, 1000);
  const int prefilling = driver.Add(1000, 5);
  const int waiting = driver.Add(5, 5);
  driver.Step();
  driver.Step();
  const int64_t used = driver.pages_.used();
  for (int number : {decoding, prefilling, waiting}) driver.handles_[number]->Cancel();
  const int had = driver.outcomes_[decoding].tokens;
  EXPECT_GT(had, 0);
  EXPECT_GT(used, 0);
  EXPECT_TRUE(driver.Step().empty());
  EXPECT_EQ(driver.pages_.used(), 0);
  for (int number : {decoding, prefilling, waiting})
    EXPECT_EQ(driver.outcomes_[number].finish, FinishReason::kCancelled);
  EXPECT_EQ(driver.outcomes_[decoding].tokens, had);
  EXPECT_EQ(driver.outcomes_[waiting].tokens, 0);
}

TEST(Scheduler, DeadlinesEndRunningAndWaitingRequests) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 1}, 100);
  const auto soon = Clock::now() + std::chrono::milliseconds(20);
  const int running = driver.Add(5, 5000, 100000, soon);
  const int waiting = driver.Add(5, 5, 100000, soon);
  const int patient = driver.Add(5, 5);
  driver.Step();
  while (Clock::now() < soon) std::this_thread::yield();
  driver.RunAll();
  EXPECT_EQ(driver.outcomes_[running].finish, FinishReason::kDeadline);
  EXPECT_EQ(driver.outcomes_[waiting].finish, FinishReason::kDeadline);
  EXPECT_EQ(driver.outcomes_[patient].finish, FinishReason::kLength);
}

TEST(Scheduler, TheContextLimitsAnAnswer) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 2}, 100);
  const int unlimited = driver.Add(100, 0, 164);
  const int limited = driver.Add(100, 500, 164);
  driver.RunAll();
  EXPECT_EQ(driver.outcomes_[unlimited].tokens, 64);
  EXPECT_EQ(driver.outcomes_[limited].tokens, 64);
  EXPECT_EQ(driver.outcomes_[limited].finish, FinishReason::kLength);
}

}  // namespace
}  // namespace tandem
