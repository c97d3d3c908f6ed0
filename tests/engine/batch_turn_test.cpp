// Batch work beside others: what it may take of a step, by a simulated clock, and pausing it.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/engine/scheduler_driver.h"

namespace tandem {
namespace {

using Driver = testing::SchedulerDriver;

constexpr double kBound = 0.040;

GenerationRequest Request(int prompt_tokens, int32_t max_tokens, Priority priority, int who) {
  GenerationRequest request;
  for (int i = 0; i < prompt_tokens; ++i)
    request.prompt_ids.push_back((i * 7 + who * 13 + who / 89) % 89);
  request.max_tokens = max_tokens;
  request.priority = priority;
  return request;
}

std::vector<int32_t> Alone(const GenerationRequest& request) {
  Driver driver({.prefill_chunk = 96, .max_sequences = 1}, 100, /*caches=*/false);
  driver.Add(request);
  driver.RunAll();
  return driver.outcomes_[0].ids;
}

// A step's rows, by who they are for.
struct StepRows {
  int batch = 0, others = 0;
};

// A driver whose steps take what `seconds_of` says of their rows.
class TimedDriver : public Driver {
 public:
  using Cost = std::function<double(int)>;
  TimedDriver(SchedulerOptions options, int64_t kv_pages, Cost seconds_of)
      : Driver(options, kv_pages), seconds_of_(std::move(seconds_of)) {}

  int Submit(const GenerationRequest& request) {
    priorities_.push_back(request.priority);
    return Add(request);
  }
  StepRows TimedStep() {
    std::vector<int> before;
    for (const Outcome& outcome : outcomes_) before.push_back(Rows(outcome));
    Step();
    StepRows rows;
    for (size_t i = 0; i < outcomes_.size(); ++i) {
      const bool batch = priorities_[i] == Priority::kBatch;
      (batch ? rows.batch : rows.others) += Rows(outcomes_[i]) - before[i];
    }
    if (rows_ > 0) scheduler_.NoteStep(rows_, seconds_of_(rows_));
    seconds_ = rows_ > 0 ? seconds_of_(rows_) : 0;
    return rows;
  }
  bool Busy() const { return scheduler_.running() + scheduler_.waiting().size() > 0; }
  double seconds_ = 0;  // of the last step

 private:
  static int Rows(const Outcome& outcome) {
    int rows = outcome.tokens;
    for (const int32_t chunk : outcome.chunks) rows += chunk;
    return rows;
  }
  Cost seconds_of_;
  std::vector<Priority> priorities_;
};

TEST(BatchTurn, WithoutABoundBatchWorkFillsTheStep) {
  TimedDriver driver({.prefill_chunk = 256, .max_sequences = 8}, 1000, [](int) { return 1.0; });
  for (int i = 0; i < 8; ++i) driver.Submit(Request(64, 40, Priority::kBatch, i));
  driver.TimedStep();
  EXPECT_EQ(driver.rows_, 256);
  driver.TimedStep();
  EXPECT_EQ(driver.rows_, 4 + 256);
  driver.RunAll();
}

// Random requests of all priorities on random machines, in caches so tight that there are
// preemptions: steps with batch rows keep within the bound, the others never wait for batch rows
// beside a step that is too long already, all end, and all answer as if alone.
TEST(BatchTurn, StepsWithBatchRowsKeepWithinTheBound) {
  int long_steps_of_others = 0, batch_beside_others = 0;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    const double row_s = 1e-4 * std::pow(30, std::uniform_real_distribution<>()(random));
    const double read_s = 0.03 * std::uniform_real_distribution<>()(random);
    const auto cost = [=](int rows) {
      return 0.001 + row_s * rows + read_s * (1 - std::pow(0.95, rows));
    };
    TimedDriver driver({.prefill_chunk = static_cast<int32_t>(64 + random() % 200),
                        .max_sequences = static_cast<int32_t>(2 + random() % 14),
                        .batch_step_s = kBound},
                       16 + random() % 60, cost);
    std::vector<GenerationRequest> requests;
    int steps = 0, over = 0;
    const auto step = [&] {
      const StepRows rows = driver.TimedStep();
      ++steps;
      const bool too_long = driver.seconds_ > kBound * 1.02;
      if (too_long && rows.batch == 0) ++long_steps_of_others;
      if (rows.batch > 0 && rows.others > 0) ++batch_beside_others;
      // One row of batch work alone may take as long as it takes.
      if (too_long && rows.batch > 0 && driver.rows_ > 1) ++over;
    };
    for (int i = 0; i < 40; ++i) {
      requests.push_back(
          Request(1 + random() % 300, 1 + random() % 100, static_cast<Priority>(random() % 3), i));
      driver.Submit(requests.back());
      for (int n = random() % 30; n > 0; --n) step();
    }
    for (int most = 200000; driver.Busy() && most > 0; --most) step();
    ASSERT_FALSE(driver.Busy()) << "seed " << seed;
    EXPECT_EQ(over, 0) << "of " << steps << " steps, seed " << seed;
    for (size_t i = 0; i < requests.size(); ++i)
      ASSERT_EQ(driver.outcomes_[i].ids, Alone(requests[i]))
          << "request " << i << ", seed " << seed;
  }
  EXPECT_GT(long_steps_of_others, 100) << "prompts of the others are not held to the bound";
  EXPECT_GT(batch_beside_others, 1000);
}

TEST(BatchTurn, NoBatchRowBesideAStepThatIsTooLongAlready) {
  TimedDriver driver({.prefill_chunk = 64, .max_sequences = 8, .batch_step_s = kBound}, 1000,
                     [](int rows) { return 0.050 + 0.001 * rows; });
  const int batch = driver.Submit(Request(64, 50, Priority::kBatch, 0));
  for (int i = 0; i < 70; ++i) driver.TimedStep();
  EXPECT_EQ(driver.outcomes_[batch].tokens, 7) << "a row per step";
  const int urgent = driver.Submit(Request(10, 20, Priority::kNormal, 1));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(driver.TimedStep().batch, 0);
  EXPECT_EQ(driver.outcomes_[urgent].finish, FinishReason::kLength);
  EXPECT_EQ(driver.TimedStep().batch, 1);
  driver.RunAll();
}

// Steps that somebody may come in the middle of are short; long ones only while nobody comes.
TEST(BatchTurn, StepsAreLongerWhileNobodyElseComes) {
  TimedDriver driver({.prefill_chunk = 64,
                      .max_sequences = 32,
                      .batch_step_s = kBound,
                      .batch_idle_step_s = 10 * kBound},
                     2000, [](int rows) { return 0.050 + 0.005 * rows; });
  for (int i = 0; i < 24; ++i) driver.Submit(Request(20, 5000, Priority::kBatch, i));
  for (int i = 0; i < 60; ++i) driver.TimedStep();
  EXPECT_EQ(driver.rows_, 24) << "all decode, in steps of 170 ms";
  const int other = driver.Submit(Request(10, 3, Priority::kNormal, 50));
  for (int i = 0; i < 6; ++i) driver.TimedStep();
  EXPECT_EQ(driver.outcomes_[other].finish, FinishReason::kLength);
  EXPECT_EQ(driver.TimedStep().batch, 1) << "another may follow";
  driver.later_ = std::chrono::seconds(11);
  for (int i = 0; i < 10; ++i) driver.TimedStep();
  EXPECT_EQ(driver.rows_, 24);
}

TEST(BatchTurn, DecodingSequencesTakeTurns) {
  double row_s = 1e-5;
  TimedDriver driver({.prefill_chunk = 64, .max_sequences = 32, .batch_step_s = kBound}, 1000,
                     [&](int rows) { return row_s * rows; });
  for (int i = 0; i < 32; ++i) driver.Submit(Request(5, 1000, Priority::kBatch, i));
  for (int i = 0; i < 20; ++i) driver.TimedStep();
  EXPECT_EQ(driver.rows_, 32) << "all decode";
  row_s = 0.004;
  for (int i = 0; i < 10; ++i) driver.TimedStep();
  EXPECT_GE(driver.rows_, 7);
  EXPECT_LE(driver.rows_, 10);
  std::vector<int> before;
  for (const auto& outcome : driver.outcomes_) before.push_back(outcome.tokens);
  for (int i = 0; i < 64; ++i) driver.TimedStep();
  std::vector<int> more;
  for (size_t i = 0; i < before.size(); ++i) more.push_back(driver.outcomes_[i].tokens - before[i]);
  EXPECT_LE(std::ranges::max(more) - std::ranges::min(more), 1);
  EXPECT_GE(std::ranges::min(more), 64 * 7 / 32);
  driver.RunAll();
}

TEST(BatchTurn, WhoComputesAPrefixForOthersHasTheirTurn) {
  TimedDriver driver({.prefill_chunk = 64, .max_sequences = 8, .batch_step_s = kBound}, 1000,
                     [](int rows) { return 0.030 * rows; });
  const int batch = driver.Submit(Request(64 * 8, 2, Priority::kBatch, 0));
  driver.TimedStep();
  EXPECT_EQ(driver.rows_, 1);
  const int urgent = driver.Submit(Request(64 * 8 + 5, 2, Priority::kInteractive, 0));
  for (int i = 0; i < 9; ++i) driver.TimedStep();
  EXPECT_EQ(driver.outcomes_[urgent].admitted_at_step, 9) << "after eight chunks of the other";
  EXPECT_GT(driver.outcomes_[urgent].tokens, 0);
  EXPECT_EQ(driver.outcomes_[batch].chunks[1], 63) << "realigned";
  driver.RunAll();
}

TEST(BatchTurn, PausedWorkWaitsAndGoesOnWhereItWas) {
  TimedDriver driver({.prefill_chunk = 64, .max_sequences = 4}, 1000, [](int) { return 0.01; });
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 6; ++i) {
    requests.push_back(Request(100, 30, Priority::kBatch, i));
    driver.Submit(requests.back());
  }
  for (int i = 0; i < 12; ++i) driver.TimedStep();
  driver.scheduler_.PauseBatch(true);
  EXPECT_TRUE(driver.scheduler_.has_work()) << "running ones have to leave";
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(driver.Step().empty());
  EXPECT_FALSE(driver.scheduler_.has_work());
  EXPECT_EQ(driver.scheduler_.running(), 0);
  EXPECT_EQ(driver.scheduler_.waiting().size(), 6);
  EXPECT_EQ(driver.pages_.used(), 0) << "what they had is the cache's, if there is room";
  const int normal = driver.Submit(Request(10, 5, Priority::kNormal, 50));
  const int urgent = driver.Submit(Request(10, 5, Priority::kInteractive, 51));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(driver.TimedStep().batch, 0);
  EXPECT_EQ(driver.outcomes_[normal].finish, FinishReason::kLength);
  EXPECT_EQ(driver.outcomes_[urgent].finish, FinishReason::kLength);
  driver.handles_[5]->Cancel();
  EXPECT_TRUE(driver.Step().empty());
  EXPECT_EQ(driver.outcomes_[5].finish, FinishReason::kCancelled);

  const int64_t rows_before = driver.total_prefill_rows_;
  driver.scheduler_.PauseBatch(false);
  EXPECT_TRUE(driver.scheduler_.has_work());
  driver.RunAll();
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(driver.outcomes_[i].ids, Alone(requests[i])) << "request " << i;
  EXPECT_LE(driver.total_prefill_rows_ - rows_before, 100 + 4 * 8) << "mostly from the cache";
}

}  // namespace
}  // namespace tandem
