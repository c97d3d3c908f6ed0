// The whole engine over a fake model: what prefixes, preemption and queues look like to a caller.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "tests/engine/fake_backend.h"
#include "tests/engine/many_requests.h"

namespace tandem {
namespace {

using testing::FakeControls;
using testing::FakeEngineOptions;
using testing::Ids;
using testing::kFakeEnd;
using testing::MakeFakeEngine;
using testing::RestingStats;

std::vector<int32_t> RandomIds(int tokens, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(tokens);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % kFakeEnd);
  return ids;
}

std::vector<int32_t> Joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

GenerationRequest Greedy(std::vector<int32_t> prompt, int32_t max_tokens) {
  GenerationRequest request;
  request.prompt_ids = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

class PrefixEngine : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> Make(bool cache = true) {
    options_.engine.prefix_cache = cache;
    return MakeFakeEngine(options_, controls_);
  }
  FakeEngineOptions options_ = {.kv_pages = 600, .context = 20000};
  std::shared_ptr<FakeControls> controls_ = std::make_shared<FakeControls>();
};

TEST_F(PrefixEngine, HundredsOfSubAgentsComputeTheirPrefixOnce) {
  constexpr int kAgents = 300, kPrefix = 64 * 32, kOwn = 30;
  options_.engine.max_queue = kAgents;
  const std::vector<int32_t> prefix = RandomIds(kPrefix, 1);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < kAgents; ++i)
    requests.push_back(Greedy(Joined(prefix, RandomIds(kOwn, 100 + i)), 10));
  std::vector<std::vector<int32_t>> expected;
  {
    const auto plain = Make(/*cache=*/false);
    std::vector<std::future<absl::StatusOr<GenerationEvent>>> answers;
    for (const auto& request : requests)
      answers.push_back(
          std::async(std::launch::deferred, [&] { return RunToEnd(*plain, request); }));
    for (auto& answer : answers) expected.push_back(Ids(*answer.get()));
    EXPECT_EQ(RestingStats(*plain).cached_prompt_tokens, 0);
  }
  const auto engine = Make();
  struct Agent {
    std::vector<int32_t> ids;
    std::promise<GenerationEvent> last;
  };
  std::vector<Agent> agents(kAgents);
  int64_t most_pages = 0;
  for (int i = 0; i < kAgents; ++i) {
    requests[i].on_event = [&, i](const GenerationEvent& event) {
      for (const auto& token : event.tokens) agents[i].ids.push_back(token.id);
      if (event.finish) agents[i].last.set_value(event);
    };
    ASSERT_TRUE(engine->Submit(requests[i]).ok());
  }
  int32_t cached = 0;
  for (int i = 0; i < kAgents; ++i) {
    cached += agents[i].last.get_future().get().usage.cached_tokens;
    EXPECT_EQ(agents[i].ids, expected[i]);
    most_pages = std::max(most_pages, engine->stats().kv_pages_used);
  }
  const EngineStats stats = RestingStats(*engine);
  EXPECT_EQ(stats.prompt_tokens + stats.cached_prompt_tokens, kAgents * (kPrefix + kOwn));
  EXPECT_EQ(stats.prompt_tokens, kPrefix + kAgents * kOwn) << "no token twice";
  EXPECT_EQ(stats.cached_prompt_tokens, cached);
  EXPECT_LE(most_pages, 32 + 64) << "64 run at once, each with a page of its own";
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_GT(stats.kv_pages_cached, 32);
}

TEST_F(PrefixEngine, AnAgentsNextTurnFindsPromptAndAnswer) {
  const auto engine = Make();
  std::vector<int32_t> conversation = RandomIds(700, 2);
  int64_t prompt = 0, cached = 0;
  for (int turn = 0; turn < 50; ++turn) {
    const auto answer = RunToEnd(*engine, Greedy(conversation, 40));
    ASSERT_TRUE(answer.ok());
    if (turn > 0) {
      prompt += answer->usage.prompt_tokens;
      cached += answer->usage.cached_tokens;
      // All but the result of the tool, and the last token of the answer, which was never fed.
      EXPECT_GE(answer->usage.cached_tokens, answer->usage.prompt_tokens - 21 - 8);
      EXPECT_FALSE(answer->divergence);
    }
    conversation = Joined(Joined(conversation, Ids(*answer)), RandomIds(20, 50 + turn));
  }
  EXPECT_GE(cached, prompt * 97 / 100);
}

TEST_F(PrefixEngine, TheLastEventTellsWhereAPromptDiverged) {
  const auto engine = Make();
  const std::vector<int32_t> first = RandomIds(300, 3);
  const auto before = RunToEnd(*engine, Greedy(first, 5));
  EXPECT_FALSE(before->divergence);
  EXPECT_EQ(before->usage.cached_tokens, 0);
  std::vector<int32_t> changed = first;
  for (int i = 150; i < 155; ++i) changed[i] = (changed[i] + 1) % kFakeEnd;
  std::vector<bool> on_event;
  GenerationRequest request = Greedy(changed, 5);
  request.on_event = [&](const GenerationEvent& event) {
    on_event.push_back(event.divergence.has_value());
  };
  const auto after = RunToEnd(*engine, request);
  EXPECT_THAT(on_event, ::testing::ElementsAre(false, false, false, false, true));
  ASSERT_TRUE(after->divergence);
  EXPECT_EQ(after->divergence->position, 150);
  EXPECT_EQ(after->divergence->cached,
            std::vector<int32_t>(first.begin() + 150, first.begin() + 160));
  EXPECT_EQ(after->divergence->prompt,
            std::vector<int32_t>(changed.begin() + 150, changed.begin() + 160));
  EXPECT_EQ(after->usage.cached_tokens, 150) << "two pages and 22 tokens copied";
}

TEST_F(PrefixEngine, ScoringNeitherReadsNorFeeds) {
  const auto engine = Make();
  const std::vector<int32_t> ids = RandomIds(200, 4);
  ASSERT_TRUE(engine->Score(ids).ok());
  EXPECT_EQ(RunToEnd(*engine, Greedy(ids, 3))->usage.cached_tokens, 0);
  EXPECT_EQ(engine->Score(ids)->size(), 200u);
  EXPECT_EQ(RestingStats(*engine).prompt_tokens, 600);
}

// Sampled, with penalties and a stop string: nothing of a request's state may get lost.
TEST_F(PrefixEngine, APreemptedRequestGoesOnAsIfNothingHadHappened) {
  options_.engine.max_sequences = 3;
  options_.kv_pages = 20;
  options_.context = 1200;
  controls_->step_time = std::chrono::microseconds(200);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 6; ++i) {
    GenerationRequest request = Greedy(RandomIds(60 + 50 * i, i), 250);
    request.sampling = {.temperature = 1, .seed = i + 1, .frequency_penalty = 0.5f};
    request.sampling.top_logprobs = 1;
    request.stop = {"qzj"};
    request.priority = Priority::kBatch;
    requests.push_back(request);
  }
  std::vector<GenerationEvent> alone;
  for (const auto& request : requests) alone.push_back(*RunToEnd(*Make(), request));
  const auto engine = Make();
  std::vector<std::future<GenerationEvent>> answers;
  for (const auto& request : requests) answers.push_back(testing::Start(*engine, request));
  for (int i = 0; i < 12; ++i) {
    GenerationRequest urgent = Greedy(RandomIds(100 + 13 * i, 1000 + i), 4);
    urgent.priority = Priority::kInteractive;
    EXPECT_TRUE(testing::RunWhenFull(*engine, 3, urgent)) << i;
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    const GenerationEvent answer = answers[i].get();
    EXPECT_EQ(Ids(answer), Ids(alone[i])) << i;
    EXPECT_EQ(answer.text, alone[i].text);
    EXPECT_EQ(answer.finish, alone[i].finish);
    for (size_t t = 0; t < answer.tokens.size(); ++t)
      EXPECT_EQ(answer.tokens[t].logprob, alone[i].tokens[t].logprob);
  }
  const EngineStats stats = RestingStats(*engine);
  EXPECT_GE(stats.preemptions, 12);
  EXPECT_GT(stats.evicted_pages, 10);
  EXPECT_EQ(stats.kv_pages_used, 0);
}

TEST_F(PrefixEngine, PausedBatchWorkWaitsAndCanBeCancelledMeanwhile) {
  controls_->step_time = std::chrono::microseconds(200);
  const auto engine = Make();
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 5; ++i) {
    requests.push_back(Greedy(RandomIds(80, i), 300));
    requests.back().priority = Priority::kBatch;
  }
  std::vector<std::future<GenerationEvent>> answers;
  for (int i = 0; i < 4; ++i) answers.push_back(testing::Start(*engine, requests[i]));
  while (engine->stats().generated_tokens < 50) std::this_thread::yield();
  engine->PauseBatch(true);
  EXPECT_TRUE(engine->stats().batch_paused);
  while (engine->stats().running > 0) std::this_thread::yield();
  const int steps = controls_->steps;
  requests[4].deadline = Clock::now() + std::chrono::milliseconds(50);
  EXPECT_EQ(testing::Start(*engine, requests[4]).get().finish, FinishReason::kDeadline);
  EXPECT_EQ(controls_->steps, steps);
  const auto await_four = [&] {  // an end is told before it is counted
    for (int i = 0; i < 2000 && engine->stats().waiting > 4; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return engine->stats().waiting;
  };
  EXPECT_EQ(await_four(), 4);
  EXPECT_EQ(RunToEnd(*engine, Greedy(RandomIds(30, 20), 10))->finish, FinishReason::kLength);
  GenerationRequest late = Greedy(RandomIds(10, 30), 5);
  late.priority = Priority::kBatch;
  const auto handle = *engine->Submit(late);
  handle->Cancel();
  EXPECT_EQ(await_four(), 4);

  engine->PauseBatch(false);
  for (int i = 0; i < 4; ++i) {
    const GenerationEvent answer = answers[i].get();
    EXPECT_EQ(Ids(answer), Ids(*RunToEnd(*Make(/*cache=*/false), requests[i]))) << i;
  }
  EXPECT_FALSE(engine->stats().batch_paused);
}

TEST_F(PrefixEngine, EndsWhileBatchWorkIsPaused) {
  auto engine = Make();
  engine->PauseBatch(true);
  GenerationRequest request = Greedy(RandomIds(80, 1), 300);
  request.priority = Priority::kBatch;
  auto answer = testing::Start(*engine, request);
  engine.reset();
  EXPECT_EQ(answer.get().finish, FinishReason::kCancelled);
}

TEST_F(PrefixEngine, AScoringIsPreemptedAndStillRight) {
  options_.engine.max_sequences = 1;
  options_.engine.max_step_tokens = 32;
  controls_->step_time = std::chrono::milliseconds(1);
  const auto engine = Make();
  const std::vector<int32_t> ids = RandomIds(600, 5);
  const auto alone = engine->Score(ids);
  auto scores = std::async(std::launch::async, [&] { return engine->Score(ids); });
  while (engine->stats().running == 0) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) {
    GenerationRequest urgent = Greedy(RandomIds(40, 70 + i), 2);
    urgent.priority = Priority::kInteractive;
    EXPECT_TRUE(testing::RunWhenFull(*engine, 1, urgent)) << i;
  }
  const auto disturbed = scores.get();
  ASSERT_EQ(disturbed->size(), alone->size());
  for (size_t t = 0; t < ids.size(); ++t)
    EXPECT_EQ((*disturbed)[t].logprob, (*alone)[t].logprob) << t;
  EXPECT_EQ(RestingStats(*engine).preemptions, 3);
}

TEST_F(PrefixEngine, AFailedStepLeavesNothingWrongInTheCache) {
  const auto engine = Make();
  const std::vector<int32_t> ids = RandomIds(1500, 6);
  const auto right = Ids(*RunToEnd(*engine, Greedy(RandomIds(1500, 6), 20)));
  for (int step = 1; step < 4; ++step) {
    const auto other = Make();
    controls_->throw_at_step = controls_->steps + step;
    EXPECT_EQ(RunToEnd(*other, Greedy(ids, 20))->finish, FinishReason::kError);
    EXPECT_EQ(Ids(*RunToEnd(*other, Greedy(ids, 20))), right);
    EXPECT_EQ(RestingStats(*other).kv_pages_used, 0);
  }
}

TEST_F(PrefixEngine, StatsCountWhoWaits) {
  options_.engine.max_sequences = 1;
  controls_->step_time = std::chrono::milliseconds(1);
  const auto engine = Make();
  std::vector<std::shared_ptr<Generation>> handles;
  for (const Priority priority : {Priority::kInteractive, Priority::kInteractive, Priority::kNormal,
                                  Priority::kBatch, Priority::kBatch}) {
    GenerationRequest request = Greedy({1, 2}, 2000);
    request.priority = priority;
    handles.push_back(*engine->Submit(request));
  }
  EngineStats stats = engine->stats();
  for (int i = 0; i < 1000 && (stats.running == 0 || handles[4]->place().position != 4); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    stats = engine->stats();
  }
  EXPECT_THAT(stats.waiting_by_priority, ::testing::ElementsAre(1, 1, 2));
  EXPECT_EQ(handles[0]->place().position, 0);
  EXPECT_EQ(handles[1]->place().position, 1);
  EXPECT_EQ(handles[4]->place().position, 4);
  EXPECT_GT(handles[4]->place().wait_s, handles[1]->place().wait_s);
  for (const auto& handle : handles) handle->Cancel();
  RestingStats(*engine);
  EXPECT_EQ(handles[4]->place().position, 0);
}

}  // namespace
}  // namespace tandem
