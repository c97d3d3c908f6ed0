#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/engine/fake_backend.h"

namespace tandem {
namespace {

using testing::FakeTokenizer;
using testing::kFakeEnd;

// Drives a scheduler without any model: every sampled token is `7`.
class Driver {
 public:
  Driver(SchedulerOptions options, int64_t kv_pages)
      : pages_(kv_pages), scheduler_(options, pages_) {}
  ~Driver() { scheduler_.EndAll(FinishReason::kCancelled, absl::OkStatus(), Clock::now()); }

  struct Outcome {
    std::optional<FinishReason> finish;
    int tokens = 0;
    int admitted_at_step = -1;
    std::vector<int32_t> chunks;
  };

  // Returns the number of the request.
  int Add(int32_t prompt_tokens, int32_t max_tokens, int64_t context = 100000,
          std::optional<Clock::time_point> deadline = {}) {
    const int number = static_cast<int>(outcomes_.size());
    outcomes_.emplace_back();
    GenerationRequest request;
    request.prompt_ids.assign(prompt_tokens, 3);
    request.max_tokens = max_tokens;
    request.deadline = deadline;
    request.on_event = [this, number](const GenerationEvent& event) {
      outcomes_[number].tokens += static_cast<int>(event.tokens.size());
      if (event.finish) outcomes_[number].finish = event.finish;
    };
    handles_.push_back(std::make_shared<GenerationHandle>());
    auto sequence = std::make_unique<Sequence>(
        std::move(request), 1, tokenizer_, Sequence::Limits{context, {kFakeEnd}}, handles_.back());
    numbers_[sequence.get()] = number;
    scheduler_.Enqueue(std::move(sequence));
    return number;
  }

  // One step; returns the requests with a row in it, decoding ones first as planned.
  std::vector<int> Step() {
    const Clock::time_point now = Clock::now();
    scheduler_.EndInterrupted(now);
    std::vector<int> order;
    rows_ = prefill_rows_ = 0;
    for (const auto& [sequence, tokens] : scheduler_.Plan(now)) {
      const int number = numbers_.at(sequence);
      order.push_back(number);
      Outcome& outcome = outcomes_[number];
      if (outcome.admitted_at_step < 0) outcome.admitted_at_step = steps_;
      rows_ += tokens;
      if (sequence->prefilling()) {
        prefill_rows_ += tokens;
        outcome.chunks.push_back(tokens);
      }
      EXPECT_LE(PagesFor(sequence->cached() + tokens),
                static_cast<int64_t>(sequence->pages().size()));
      sequence->AddCached(tokens);
      if (!sequence->prefilling()) sequence->Accept({7, 0, {}}, now);
    }
    scheduler_.Reap();
    ++steps_;
    return order;
  }
  void RunAll(int most_steps = 100000) {
    while (scheduler_.running() + scheduler_.waiting() > 0 && --most_steps > 0) Step();
    ASSERT_GT(most_steps, 0) << "the scheduler does not come to an end";
    EXPECT_EQ(pages_.used(), 0);
  }

  FakeTokenizer tokenizer_;
  KvPages pages_;
  Scheduler scheduler_;
  std::vector<Outcome> outcomes_;
  std::vector<std::shared_ptr<GenerationHandle>> handles_;
  std::map<const Sequence*, int> numbers_;
  int steps_ = 0, rows_ = 0, prefill_rows_ = 0;
};

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
  while (driver.scheduler_.running() + driver.scheduler_.waiting() > 0) {
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
