// 200 requests from 16 threads, a third of them cancelled midway: the test that every engine must
// pass, over a fake model or a real one.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace tandem::testing {

inline std::vector<int32_t> Ids(const GenerationEvent& event) {
  std::vector<int32_t> ids;
  for (const GeneratedToken& token : event.tokens) ids.push_back(token.id);
  return ids;
}

// The last event is reported before the step's books are closed: wait for them.
inline EngineStats RestingStats(const Engine& engine) {
  EngineStats stats = engine.stats();
  for (int i = 0; i < 2000 && stats.running + stats.waiting > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    stats = engine.stats();
  }
  return stats;
}

// Submits a request; the future has all its events in one.
inline std::future<GenerationEvent> Start(Engine& engine, GenerationRequest request) {
  struct Shared {
    GenerationEvent whole;
    std::promise<GenerationEvent> ended;
  };
  const auto shared = std::make_shared<Shared>();
  request.on_event = [shared](const GenerationEvent& event) {
    GenerationEvent whole = event;
    whole.tokens = std::move(shared->whole.tokens);
    whole.tokens.insert(whole.tokens.end(), event.tokens.begin(), event.tokens.end());
    whole.text = shared->whole.text + event.text;
    shared->whole = std::move(whole);
    if (event.finish) shared->ended.set_value(shared->whole);
  };
  EXPECT_TRUE(engine.Submit(std::move(request)).ok());
  return shared->ended.get_future();
}

// Runs a request that is submitted between two steps while `places` sequences run, so that it finds
// no place. False if everything ended first.
inline bool RunWhenFull(Engine& engine, int32_t places, const GenerationRequest& request) {
  std::future<GenerationEvent> answer;
  for (bool idle = false; !answer.valid();) {
    if (idle) return false;
    EXPECT_TRUE(engine
                    .BetweenSteps([&] {
                      const EngineStats stats = engine.stats();
                      idle = stats.running + stats.waiting == 0;
                      if (stats.running >= places) answer = Start(engine, request);
                    })
                    .ok());
  }
  return answer.get().finish == FinishReason::kLength;
}

struct Outcome {
  std::vector<int32_t> ids;
  FinishReason finish;
};

// Runs one request; cancels it after `cancel_after` tokens (0: never).
inline Outcome RunOne(Engine& engine, GenerationRequest request, size_t cancel_after) {
  struct Shared {  // with the engine's thread
    std::promise<FinishReason> ended;
    std::promise<void> midway;
    bool is_midway = false;
    std::vector<int32_t> ids;
  };
  const auto shared = std::make_shared<Shared>();
  request.on_event = [shared, cancel_after](const GenerationEvent& event) {
    for (const auto& token : event.tokens) shared->ids.push_back(token.id);
    if (!shared->is_midway && (event.finish || shared->ids.size() == cancel_after)) {
      shared->is_midway = true;
      shared->midway.set_value();
    }
    if (event.finish) shared->ended.set_value(*event.finish);
  };
  const auto handle = *engine.Submit(std::move(request));
  if (cancel_after > 0) {
    shared->midway.get_future().wait();
    handle->Cancel();
  }
  const FinishReason finish = shared->ended.get_future().get();
  return {shared->ids, finish};
}

// Every third request is cancelled after 10 tokens and must be a beginning of what is expected, all
// others must equal it. Returns how many were really cancelled.
inline int ExpectManyEqual(Engine& engine, const std::vector<GenerationRequest>& requests,
                           const std::vector<std::vector<int32_t>>& expected, int n_threads = 16) {
  std::atomic<size_t> next{0};
  std::atomic<int> cancelled{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < n_threads; ++t)
    threads.emplace_back([&] {
      for (size_t i; (i = next++) < requests.size();) {
        const Outcome got = RunOne(engine, requests[i], i % 3 == 0 ? 10 : 0);
        const bool was_cancelled = got.finish == FinishReason::kCancelled;
        cancelled += was_cancelled;
        const bool right = was_cancelled
                               ? std::equal(got.ids.begin(), got.ids.end(), expected[i].begin())
                               : got.ids == expected[i] && got.finish != FinishReason::kError;
        wrong += !right;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0) << "of " << requests.size() << " requests";
  EXPECT_EQ(RestingStats(engine).kv_pages_used, 0);
  return cancelled;
}

}  // namespace tandem::testing
