// Preemption, sharing of prefixes in flight and fair turns.
#include <gtest/gtest.h>

#include <random>

#include "tests/engine/scheduler_driver.h"

namespace tandem {
namespace {

using Driver = testing::SchedulerDriver;

constexpr Priority kAll[] = {Priority::kInteractive, Priority::kNormal, Priority::kBatch};

GenerationRequest Request(std::vector<int32_t> prompt, int32_t max_tokens,
                          Priority priority = Priority::kNormal, std::string share = "") {
  GenerationRequest request;
  request.prompt_ids = std::move(prompt);
  request.max_tokens = max_tokens;
  request.priority = priority;
  request.fair_share = std::move(share);
  return request;
}

// `shared` tokens that are the same for all, then `own` that only `who` has.
std::vector<int32_t> Prompt(int shared, int own, int who) {
  std::vector<int32_t> ids(shared + own);
  for (int i = 0; i < shared + own; ++i) ids[i] = i < shared ? i % 83 : (i * 7 + who * 13 + 1) % 89;
  if (own > 0) ids[shared] = 90 + who;
  return ids;
}

std::vector<int32_t> Alone(const GenerationRequest& request) {
  Driver driver({.prefill_chunk = 96, .max_sequences = 1}, 100, /*caches=*/false);
  driver.Add(request);
  driver.RunAll();
  return driver.outcomes_[0].ids;
}

TEST(Scheduling, OneComputesThePrefixAndTheOthersWaitForIt) {
  Driver driver({.prefill_chunk = 128, .max_sequences = 64}, 2000);
  for (int i = 0; i < 50; ++i) driver.Add(Request(Prompt(64 * 20, 10, i), 5));
  driver.RunAll();
  EXPECT_EQ(driver.total_prefill_rows_, 64 * 20 + 50 * 10);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(driver.outcomes_[i].tokens, 5);
    EXPECT_EQ(driver.outcomes_[i].last.usage.cached_tokens, i == 0 ? 0 : 64 * 20);
  }
}

TEST(Scheduling, ASharedPrefixTakesItsPagesOnce) {
  Driver driver({.prefill_chunk = 512, .max_sequences = 64}, 100);
  for (int i = 0; i < 64; ++i) driver.Add(Request(Prompt(64 * 30, 10, i), 20));
  int64_t most = 0;
  int together = 0;
  while (driver.scheduler_.running() + driver.scheduler_.waiting().size() > 0) {
    driver.Step();
    most = std::max(most, driver.pages_.used());
    together = std::max(together, driver.scheduler_.running());
  }
  EXPECT_EQ(together, 64);
  EXPECT_EQ(most, 30 + 64);
}

TEST(Scheduling, IfTheOneThatComputesGoesAnotherTakesOver) {
  for (int how = 0; how < 3; ++how) {
    Driver driver({.prefill_chunk = 64, .max_sequences = 8}, 100);
    for (int i = 0; i < 4; ++i)
      driver.Add(Request(Prompt(64 * 20, 10, i), 5, i == 0 ? Priority::kBatch : Priority::kNormal));
    for (int step = 0; step < 5; ++step) driver.Step();
    EXPECT_EQ(driver.scheduler_.running(), 1);
    if (how == 0) driver.handles_[0]->Cancel();
    if (how == 1) driver.Add(64 * 95, 3, 100000, {}, Priority::kInteractive);  // preempts
    driver.RunAll();
    for (int i = 1; i < 4; ++i) EXPECT_EQ(driver.outcomes_[i].tokens, 5) << how;
    EXPECT_EQ(driver.outcomes_[0].tokens, how == 0 ? 0 : 5);
    EXPECT_EQ(driver.scheduler_.preemptions() > 0, how == 1);
  }
}

TEST(Scheduling, WhoIsWaitedForInheritsTheTurn) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 8}, 1000);
  driver.Add(Request(Prompt(64 * 20, 10, 0), 5, Priority::kBatch));
  driver.Step();
  const int normal = driver.Add(64 * 200, 5);
  const int urgent = driver.Add(Request(Prompt(64 * 20, 10, 1), 5, Priority::kInteractive));
  for (int step = 0; step < 30; ++step) driver.Step();
  EXPECT_TRUE(driver.outcomes_[urgent].finish);
  EXPECT_FALSE(driver.outcomes_[normal].finish);
}

TEST(Scheduling, AHigherPriorityTakesAPlaceAndGivesItBack) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 2}, 100);
  const auto first = Request(Prompt(0, 100, 1), 60, Priority::kNormal);
  const auto second = Request(Prompt(0, 100, 2), 60, Priority::kBatch);
  driver.Add(first);
  driver.Add(second);
  for (int step = 0; step < 20; ++step) driver.Step();
  const int urgent = driver.Add(Request(Prompt(0, 50, 3), 10, Priority::kInteractive));
  driver.Step();
  EXPECT_EQ(driver.outcomes_[urgent].tokens, 1) << "it was let in at once";
  EXPECT_EQ(driver.scheduler_.preemptions(), 1);
  EXPECT_EQ(driver.scheduler_.waiting().by_priority()[2], 1) << "the lowest went";
  driver.RunAll();
  EXPECT_EQ(driver.scheduler_.preemptions(), 1);
  EXPECT_EQ(driver.outcomes_[0].ids, Alone(first));
  EXPECT_EQ(driver.outcomes_[1].ids, Alone(second));
  // What the preempted one had is found again, but for the last token, which was never fed.
  EXPECT_EQ(driver.total_prefill_rows_, 100 + 100 + 50 + 1);
  EXPECT_EQ(driver.outcomes_[1].last.usage.cached_tokens, 0) << "its own pages are no gift";
}

TEST(Scheduling, AHigherPriorityTakesPagesAndOnlyAsManyAsItNeeds) {
  Driver driver({.prefill_chunk = 1280, .max_sequences = 64}, 40);
  std::vector<GenerationRequest> batch;
  for (int i = 0; i < 4; ++i) {
    batch.push_back(Request(Prompt(0, 64 * 8, i), 100, Priority::kBatch));
    driver.Add(batch.back());
  }
  for (int step = 0; step < 8; ++step) driver.Step();
  EXPECT_EQ(driver.scheduler_.running(), 4);
  const int urgent = driver.Add(Request(Prompt(0, 64 * 20, 50), 100, Priority::kInteractive));
  driver.Step();
  EXPECT_EQ(driver.scheduler_.preemptions(), 2);
  EXPECT_EQ(driver.scheduler_.running(), 3);
  driver.RunAll();
  EXPECT_EQ(driver.outcomes_[urgent].tokens, 100);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(driver.outcomes_[i].ids, Alone(batch[i])) << i;
}

TEST(Scheduling, ARunningRequestGrowsAtTheCostOfLowerOnes) {
  Driver driver({.prefill_chunk = 640, .max_sequences = 64}, 20);
  driver.Add(Request(Prompt(0, 64, 2), 64 * 18, Priority::kBatch));
  for (int step = 0; step < 64 * 9; ++step) driver.Step();
  const int urgent = driver.Add(Request(Prompt(0, 64, 1), 64 * 18, Priority::kInteractive));
  int waited = 0;
  while (!driver.outcomes_[urgent].finish) {
    const int had = driver.outcomes_[urgent].tokens;
    driver.Step();
    waited += driver.outcomes_[urgent].tokens == had;
  }
  EXPECT_EQ(waited, 0);
  EXPECT_GE(driver.scheduler_.preemptions(), 1);
  driver.RunAll();
}

TEST(Scheduling, EqualPrioritiesDoNotPreempt) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 1}, 100);
  for (Priority priority : kAll) {
    const int first = driver.Add(10, 20, 1000, {}, priority);
    driver.Step();
    const int second = driver.Add(10, 20, 1000, {}, priority);
    driver.Step();
    EXPECT_EQ(driver.outcomes_[first].tokens, 2);
    EXPECT_EQ(driver.outcomes_[second].tokens, 0);
    driver.RunAll();
  }
  EXPECT_EQ(driver.scheduler_.preemptions(), 0);
}

TEST(Scheduling, ASingleUserIsNotStarvedByASwarm) {
  Driver driver({.prefill_chunk = 128, .max_sequences = 4}, 1000);
  for (int i = 0; i < 200; ++i)
    driver.Add(Request(Prompt(0, 40, i), 20, Priority::kNormal, "swarm"));
  for (int step = 0; step < 30; ++step) driver.Step();
  const int user = driver.Add(Request(Prompt(0, 40, 500), 20, Priority::kNormal, "user"));
  int steps = 0;
  for (; !driver.outcomes_[user].finish; ++steps) driver.Step();
  EXPECT_LT(steps, 50) << "a place came free within 20 steps, and its 20 tokens take as many";
  driver.RunAll();
}

TEST(Scheduling, PrefillTurnsGoToWhoWasServedLeast) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 64}, 2000);
  for (int i = 0; i < 10; ++i)
    driver.Add(Request(Prompt(0, 64 * 20, i), 5, Priority::kNormal, "swarm"));
  driver.Step();
  const int user = driver.Add(Request(Prompt(0, 64 * 3, 50), 5, Priority::kNormal, "user"));
  for (int step = 0; step < 12; ++step) driver.Step();
  EXPECT_EQ(driver.outcomes_[user].tokens, 5) << "every second turn was its own";
}

TEST(Scheduling, TellsPlaces) {
  Driver driver({.prefill_chunk = 64, .max_sequences = 1}, 100);
  for (int i = 0; i < 3; ++i) driver.Add(10, 5);
  driver.Add(10, 5, 1000, {}, Priority::kInteractive);
  driver.Step();
  driver.scheduler_.TellPlaces(2.0);
  std::vector<int32_t> positions;
  for (const auto& handle : driver.handles_) {
    positions.push_back(handle->place().position);
    EXPECT_DOUBLE_EQ(handle->place().wait_s, 2.0 * positions.back());
  }
  EXPECT_EQ(positions, (std::vector<int32_t>{1, 2, 3, 0}));
  driver.handles_[0]->Cancel();
  driver.Step();
  EXPECT_EQ(driver.handles_[0]->place().position, 0) << "it has ended";
}

// Everything at once, in caches so tight that most steps have to choose.
TEST(Scheduling, RandomRequestsAllEndAndAnswerAsIfAlone) {
  int64_t preemptions = 0, cached = 0, evicted = 0, loaded = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const int64_t n_pages = 12 + random() % 30;
    Driver driver({.prefill_chunk = static_cast<int32_t>(32 + random() % 200),
                   .max_sequences = static_cast<int32_t>(1 + random() % 12)},
                  n_pages, /*caches=*/seed % 8 != 7,
                  /*ram_pages=*/seed % 3 == 0 ? 0 : static_cast<int32_t>(seed * 2),
                  /*hash_bits=*/seed % 5 == 0 ? 6 : 128);
    std::vector<GenerationRequest> requests;
    std::vector<bool> cancelled;
    const auto step = [&] {
      driver.Step();
      const PageTier* tier = driver.cache_.tier();
      if (tier != nullptr) {
        ASSERT_LE(tier->used(), tier->total());
      }
      ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
      if (random() % 15 == 0) {
        const size_t victim = random() % requests.size();
        driver.handles_[victim]->Cancel();
        cancelled[victim] = true;
      }
    };
    for (int i = 0; i < 50; ++i) {
      const int shared = random() % 3 * 100 + random() % 2 * 30, own = 1 + random() % 150;
      GenerationRequest request = Request(Prompt(shared, own, random() % 5), 1 + random() % 200,
                                          kAll[random() % 3], std::string(1, 'a' + random() % 3));
      request.cache_salt = random() % 6 == 0 ? "salt" : "";
      requests.push_back(request);
      cancelled.push_back(false);
      driver.Add(request);
      for (int steps = random() % 30; steps > 0; --steps) step();
      if (::testing::Test::HasFailure()) return;
    }
    driver.RunAll();
    for (int i = 0; i < 50; ++i) {
      const auto& outcome = driver.outcomes_[i];
      ASSERT_TRUE(outcome.finish);
      if (*outcome.finish == FinishReason::kCancelled) {
        EXPECT_TRUE(cancelled[i]);
        continue;
      }
      ASSERT_EQ(outcome.ids, Alone(requests[i])) << "request " << i << ", seed " << seed;
    }
    preemptions += driver.scheduler_.preemptions();
    cached += driver.scheduler_.cached_prompt_tokens();
    evicted += driver.cache_.evicted();
    if (driver.cache_.tier() != nullptr) loaded += driver.cache_.tier()->loaded();
  }
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(cached, 10000);
  EXPECT_GT(evicted, 1000);
  EXPECT_GT(loaded, 300);
}

}  // namespace
}  // namespace tandem
