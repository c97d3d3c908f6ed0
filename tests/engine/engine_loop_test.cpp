#include "engine/engine_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <random>

#include "core/memory.h"
#include "tests/engine/fake_backend.h"
#include "tests/engine/many_requests.h"

namespace tandem {
namespace {

using testing::FakeControls;
using testing::FakeEngineOptions;
using testing::HashNext;
using ::testing::HasSubstr;
using testing::Ids;
using testing::kFakeEnd;
using testing::kFakeVocab;
using testing::MakeFakeEngine;
using testing::RestingStats;

std::vector<int32_t> RandomPrompt(int tokens, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(tokens);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % kFakeEnd);
  return ids;
}

GenerationRequest Greedy(std::vector<int32_t> prompt, int32_t max_tokens) {
  GenerationRequest request;
  request.prompt_ids = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

// What the fake model says under greedy, computed without the engine.
std::vector<int32_t> GreedyByHand(const std::vector<int32_t>& prompt, int32_t max_tokens,
                                  float end_bias) {
  uint64_t hash = 0;
  for (int32_t id : prompt) hash = HashNext(hash, id);
  std::vector<int32_t> ids;
  std::vector<float> logits(kFakeVocab);
  while (static_cast<int32_t>(ids.size()) < max_tokens) {
    testing::FakeLogits(hash, end_bias, logits.data());
    ids.push_back(
        static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    if (ids.back() == kFakeEnd) break;
    hash = HashNext(hash, ids.back());
  }
  return ids;
}

class EngineLoopTest : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> Make() { return MakeFakeEngine(options_, controls_); }
  FakeEngineOptions options_;
  std::shared_ptr<FakeControls> controls_ = std::make_shared<FakeControls>();
};

TEST_F(EngineLoopTest, AnswersWhatTheModelSays) {
  options_.engine.max_step_tokens = 48;
  controls_->end_bias = 1.9f;
  const auto engine = Make();
  int stopped = 0;
  for (int n : {1, 2, 47, 48, 49, 63, 64, 65, 300}) {
    const auto prompt = RandomPrompt(n, n);
    const auto expected = GreedyByHand(prompt, 150, controls_->end_bias);
    const auto got = RunToEnd(*engine, Greedy(prompt, 150));
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(Ids(*got), expected) << n << " prompt tokens";
    const bool ends = expected.back() == kFakeEnd;
    stopped += ends;
    EXPECT_EQ(got->finish, ends ? FinishReason::kStop : FinishReason::kLength);
    EXPECT_EQ(got->text.size(), expected.size() - ends);
    EXPECT_EQ(got->usage.prompt_tokens, n);
    EXPECT_EQ(got->usage.completion_tokens, static_cast<int>(expected.size()));
  }
  EXPECT_GT(stopped, 0);
  const EngineStats stats = RestingStats(*engine);
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_EQ(stats.prompt_tokens, 1 + 2 + 47 + 48 + 49 + 63 + 64 + 65 + 300);
}

TEST_F(EngineLoopTest, IgnoresTheEndTokenWhenAsked) {
  controls_->end_bias = 3.0f;
  const auto engine = Make();
  GenerationRequest request = Greedy({1, 2, 3}, 40);
  EXPECT_EQ(RunToEnd(*engine, request)->finish, FinishReason::kStop);
  request.ignore_eos = true;
  const auto got = RunToEnd(*engine, request);
  EXPECT_EQ(got->tokens.size(), 40u);
  EXPECT_EQ(got->finish, FinishReason::kLength);
}

TEST_F(EngineLoopTest, StopsAtStopStringsAndStopIds) {
  const auto engine = Make();
  const auto all = RunToEnd(*engine, Greedy({5}, 60));
  GenerationRequest request = Greedy({5}, 60);
  request.stop = {"never!", all->text.substr(30, 4)};
  const auto cut = RunToEnd(*engine, request);
  EXPECT_EQ(cut->finish, FinishReason::kStop);
  EXPECT_EQ(cut->stop_string, request.stop[1]);
  EXPECT_EQ(cut->text, all->text.substr(0, all->text.find(request.stop[1])));

  request = Greedy({5}, 60);
  request.stop_ids = {all->tokens[20].id};
  const auto by_id = RunToEnd(*engine, request);
  EXPECT_EQ(by_id->finish, FinishReason::kStop);
  EXPECT_EQ(by_id->stop_string, "");
  EXPECT_EQ(by_id->tokens.back().id, request.stop_ids[0]);
  EXPECT_EQ(by_id->text.size() + 1, by_id->tokens.size());
}

TEST_F(EngineLoopTest, EventsComeInOrderAndTheLastHasTheReason) {
  const auto engine = Make();
  std::vector<GenerationEvent> events;
  GenerationRequest request = Greedy({9, 9}, 12);
  request.sampling.top_logprobs = 2;
  request.on_event = [&](const GenerationEvent& event) { events.push_back(event); };
  ASSERT_TRUE(RunToEnd(*engine, request).ok());
  ASSERT_EQ(events.size(), 12u);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].finish.has_value(), i == 11);
    EXPECT_EQ(events[i].usage.completion_tokens, static_cast<int>(i) + 1);
    ASSERT_EQ(events[i].tokens.size(), 1u);
    EXPECT_EQ(events[i].tokens[0].top.size(), 2u);
    EXPECT_EQ(events[i].tokens[0].top[0].id, events[i].tokens[0].id);
  }
}

TEST_F(EngineLoopTest, RefusesWhatCannotBeServedAndSaysWhy) {
  options_.context = 200;
  const auto engine = Make();
  const auto refusal = [&](GenerationRequest request) {
    const absl::Status status = engine->Submit(std::move(request)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(engine->max_context(), 200);
  EXPECT_THAT(refusal(Greedy({}, 1)), HasSubstr("empty"));
  EXPECT_THAT(refusal(Greedy({1, kFakeVocab}, 1)), HasSubstr("prompt_ids[1] is 97"));
  EXPECT_THAT(refusal(Greedy({-1}, 1)), HasSubstr("prompt_ids[0] is -1"));
  EXPECT_THAT(refusal(Greedy(RandomPrompt(200, 1), 1)), HasSubstr("200 tokens"));
  EXPECT_THAT(refusal(Greedy({1}, -1)), HasSubstr("max_tokens is -1"));
  GenerationRequest request = Greedy({1}, 1);
  request.stop = {""};
  EXPECT_THAT(refusal(request), HasSubstr("stop string 0 is empty"));
  request = Greedy({1}, 1);
  request.sampling.top_p = 2;
  EXPECT_THAT(refusal(request), HasSubstr("top_p is 2"));
  // One token of room is enough.
  EXPECT_EQ(RunToEnd(*engine, Greedy(RandomPrompt(199, 1), 0))->tokens.size(), 1u);
}

TEST_F(EngineLoopTest, ACacheSmallerThanTheContextLimitsTheContext) {
  options_.kv_pages = 2;
  const auto engine = Make();
  EXPECT_EQ(engine->max_context(), 129);
  EXPECT_EQ(RunToEnd(*engine, Greedy({1, 2, 3}, 0))->tokens.size(), 126u);
  EXPECT_EQ(RunToEnd(*engine, Greedy(RandomPrompt(128, 1), 0))->tokens.size(), 1u);
}

TEST_F(EngineLoopTest, AFullQueueIsRefusedWithARetryHint) {
  options_.engine.max_sequences = 2;
  options_.engine.max_queue = 3;
  controls_->step_time = std::chrono::milliseconds(2);
  const auto engine = Make();
  std::vector<std::shared_ptr<Generation>> accepted;
  for (int i = 0; i < 5; ++i) accepted.push_back(*engine->Submit(Greedy({1}, 900)));
  const absl::Status status = engine->Submit(Greedy({1}, 900)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("5 requests are in flight, 2 of them"));
  const auto hint = status.GetPayload(kRetryAfterMsPayload);
  ASSERT_TRUE(hint.has_value());
  EXPECT_GE(std::stoi(std::string(*hint)), 100);
  for (const auto& generation : accepted) generation->Cancel();
  EXPECT_EQ(RestingStats(*engine).kv_pages_used, 0);
  EXPECT_TRUE(RunToEnd(*engine, Greedy({1}, 3)).ok());
}

TEST_F(EngineLoopTest, ANanEndsThatRequestOnly) {
  controls_->nan_after_id = 50;
  controls_->step_time = std::chrono::microseconds(200);
  const auto engine = Make();
  auto healthy = std::async([&] { return RunToEnd(*engine, Greedy(RandomPrompt(30, 4), 0)); });
  std::vector<int32_t> bad_prompt = {1, 2, 50};
  const auto bad = RunToEnd(*engine, Greedy(bad_prompt, 10));
  EXPECT_EQ(bad->finish, FinishReason::kError);
  EXPECT_THAT(std::string(bad->status.message()), HasSubstr("token 5 is not finite"));
  controls_->nan_after_id = -1;
  EXPECT_NE(healthy.get()->finish, FinishReason::kCancelled);
  EXPECT_TRUE(RunToEnd(*engine, Greedy({1}, 3))->status.ok());
}

TEST_F(EngineLoopTest, AStepThatThrowsEndsItsRequestsAndTheEngineGoesOn) {
  controls_->throw_at_step = 5;
  const auto engine = Make();
  const auto broken = RunToEnd(*engine, Greedy({1}, 20));
  EXPECT_EQ(broken->finish, FinishReason::kError);
  EXPECT_THAT(std::string(broken->status.message()), HasSubstr("the fake broke"));
  EXPECT_EQ(broken->tokens.size(), 5u);
  EXPECT_EQ(RunToEnd(*engine, Greedy({1}, 20))->tokens.size(), 20u);
  EXPECT_EQ(RestingStats(*engine).kv_pages_used, 0);
}

TEST_F(EngineLoopTest, AListenerThatThrowsIsCancelled) {
  const auto engine = Make();
  GenerationRequest request = Greedy({1}, 50);
  int calls = 0;
  request.on_event = [&](const GenerationEvent&) {
    if (++calls == 3) throw std::runtime_error("listener");
  };
  const auto got = RunToEnd(*engine, request);
  EXPECT_EQ(got->finish, FinishReason::kCancelled);
  EXPECT_EQ(got->tokens.size(), 3u);
  EXPECT_EQ(RunToEnd(*engine, Greedy({1}, 50))->tokens.size(), 50u);
}

TEST_F(EngineLoopTest, DeadlineEndsAnAnswer) {
  controls_->step_time = std::chrono::milliseconds(1);
  const auto engine = Make();
  GenerationRequest request = Greedy({1}, 900);
  request.deadline = Clock::now() + std::chrono::milliseconds(30);
  const auto got = RunToEnd(*engine, request);
  EXPECT_EQ(got->finish, FinishReason::kDeadline);
  EXPECT_TRUE(got->status.ok());
  EXPECT_LT(got->tokens.size(), 100u);
}

TEST_F(EngineLoopTest, ShutdownEndsWhatIsInFlight) {
  options_.engine.max_sequences = 2;
  controls_->step_time = std::chrono::milliseconds(1);
  auto engine = Make();
  std::atomic<int> cancelled{0};
  std::vector<std::shared_ptr<Generation>> handles;
  for (int i = 0; i < 10; ++i) {
    GenerationRequest request = Greedy({1}, 900);
    request.on_event = [&](const GenerationEvent& event) {
      if (event.finish == FinishReason::kCancelled) ++cancelled;
    };
    handles.push_back(*engine->Submit(std::move(request)));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  engine.reset();
  EXPECT_EQ(cancelled, 10);
  for (const auto& handle : handles) handle->Cancel();  // must be harmless now
}

TEST_F(EngineLoopTest, AnIdleEngineDoesNotRun) {
  const auto engine = Make();
  ASSERT_TRUE(RunToEnd(*engine, Greedy({1}, 3)).ok());
  RestingStats(*engine);
  const int steps = controls_->steps;
  timespec before, after;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  EXPECT_EQ(controls_->steps, steps);
  const double cpu_ms =
      (after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) * 1e-6;
  EXPECT_LT(cpu_ms, 60) << "of 300 ms";
}

TEST_F(EngineLoopTest, ScoresEqualTheModelsLogSoftmax) {
  options_.engine.max_step_tokens = 100;  // more rows than one block of logits
  const auto engine = Make();
  const auto ids = RandomPrompt(333, 77);
  auto other = std::async([&] { return RunToEnd(*engine, Greedy(RandomPrompt(150, 3), 100)); });
  const auto scores = engine->Score(ids);
  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ(scores->size(), ids.size());
  EXPECT_TRUE(scores->front().top.empty());
  uint64_t hash = 0;
  std::vector<float> logits(kFakeVocab);
  for (size_t t = 1; t < ids.size(); ++t) {
    hash = HashNext(hash, ids[t - 1]);
    testing::FakeLogits(hash, controls_->end_bias, logits.data());
    double sum = 0;
    for (float x : logits) sum += std::exp(double{x});
    const TokenScore& score = (*scores)[t];
    EXPECT_EQ(score.id, ids[t]);
    EXPECT_NEAR(score.logprob, logits[ids[t]] - std::log(sum), 1e-5) << "token " << t;
    ASSERT_EQ(score.top.size(), 5u);
    EXPECT_EQ(score.top[0].id, std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  EXPECT_EQ(Ids(*other.get()), GreedyByHand(RandomPrompt(150, 3), 100, controls_->end_bias));
  EXPECT_EQ(engine->Score({4})->size(), 1u);
  EXPECT_EQ(engine->Score({}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RestingStats(*engine).kv_pages_used, 0);
}

TEST_F(EngineLoopTest, AScoringWithABadRowIsAnError) {
  controls_->nan_after_id = 50;
  const auto engine = Make();
  const auto scores = engine->Score({1, 2, 50, 3, 50, 4});
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(RestingStats(*engine).kv_pages_used, 0);
}

TEST_F(EngineLoopTest, SeededSamplingIsTheSameInCompany) {
  const auto engine = Make();
  GenerationRequest request = Greedy(RandomPrompt(70, 1), 60);
  request.sampling = {.temperature = 1, .top_p = 0.9f, .seed = 5, .repetition_penalty = 1.1f};
  const auto alone = Ids(*RunToEnd(*engine, request));
  std::vector<std::future<absl::StatusOr<GenerationEvent>>> others;
  for (int i = 0; i < 8; ++i)
    others.push_back(std::async(std::launch::async, [&, i] {
      GenerationRequest other = request;
      other.sampling.seed = 100 + i;
      return RunToEnd(*engine, other);
    }));
  EXPECT_EQ(Ids(*RunToEnd(*engine, request)), alone);
  for (auto& other : others) EXPECT_NE(Ids(*other.get()), alone);
}

// 200 requests from 16 threads, a third of them cancelled midway.
TEST_F(EngineLoopTest, ManyRequestsEqualTheirSingleRuns) {
  options_.engine.max_step_tokens = 80;
  options_.engine.max_sequences = 12;
  options_.kv_pages = 40;
  controls_->end_bias = 0.0f;
  controls_->step_time = std::chrono::microseconds(300);  // or cancelling comes too late
  const auto engine = Make();
  std::vector<GenerationRequest> requests;
  std::vector<std::vector<int32_t>> expected;
  for (int i = 0; i < 200; ++i) {
    const auto prompt = RandomPrompt(1 + (i * 37) % 230, i);
    const int max_tokens = 20 + (i * 13) % 90;
    requests.push_back(Greedy(prompt, max_tokens));
    expected.push_back(GreedyByHand(prompt, max_tokens, controls_->end_bias));
  }
  EXPECT_GT(testing::ExpectManyEqual(*engine, requests, expected), 20);
  const int64_t before = ReadResidentMemory().now_bytes;
  testing::ExpectManyEqual(*engine, requests, expected);
  testing::ExpectManyEqual(*engine, requests, expected);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(ReadResidentMemory().now_bytes - before, 8 << 20) << "memory grows with requests";
#else
  (void)before;
#endif
  EXPECT_LE(controls_->largest_step, 92);
}

}  // namespace
}  // namespace tandem
