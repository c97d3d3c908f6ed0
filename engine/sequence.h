// One request on its way through the engine: its ids, its pages, its answer so far.
//
// Owned by the scheduler and touched by the engine's thread alone; only the GenerationHandle inside
// is shared with the caller.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"
#include "engine/text/text_stream.h"

namespace tandem {

using Clock = std::chrono::steady_clock;

// The caller's end of a request. Outlives the engine if the caller keeps it. The engine looks at it
// between two steps; it never rests while a request is in flight, so nobody has to be woken.
class GenerationHandle : public Generation {
 public:
  void Cancel() override { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  QueuePlace place() const override {
    return {position_.load(std::memory_order_relaxed), wait_s_.load(std::memory_order_relaxed)};
  }
  void set_place(const QueuePlace& place) {
    position_.store(place.position, std::memory_order_relaxed);
    wait_s_.store(place.wait_s, std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> cancelled_{false};
  std::atomic<int32_t> position_{0};
  std::atomic<double> wait_s_{0};
};

// What a scoring request gathers: one entry per token once it has ended.
struct ScoreResult {
  absl::Status status;
  std::vector<TokenScore> scores;
};

class Sequence {
 public:
  struct Limits {
    int64_t max_context;           // ids the sequence may reach, prompt included
    std::vector<int32_t> end_ids;  // the model's end tokens, unless ignored
  };
  // A generation. `seed` is drawn by the caller if the request has none. REQUIRES: a valid request
  // whose prompt is shorter than the context.
  Sequence(GenerationRequest request, uint64_t seed, const Tokenizer& tokenizer, Limits limits,
           std::shared_ptr<GenerationHandle> handle);
  // A scoring of given tokens; `on_scored` is called once, at the end.
  Sequence(std::vector<int32_t> ids, const Tokenizer& tokenizer,
           std::function<void(ScoreResult)> on_scored);

  // ---- What the scheduler looks at.
  int32_t prompt_tokens() const { return prompt_tokens_; }
  int32_t cached() const { return cached_; }
  int32_t max_cached() const { return max_cached_; }  // the most tokens it may ever have cached
  bool prefilling() const { return cached_ < prompt_tokens_; }
  bool ended() const { return ended_; }
  std::vector<int32_t>& pages() { return pages_; }
  const std::vector<int32_t>& pages() const { return pages_; }
  void Admitted(Clock::time_point now) { admitted_ = now; }
  // Requests are numbered as the engine takes them.
  uint64_t number() const { return number_; }
  void set_number(uint64_t number) { number_ = number; }
  const std::string& label() const { return request_.label; }

  // Why it should not go on, if so: cancelled or too late.
  std::optional<FinishReason> Interrupted(Clock::time_point now) const;

  // ---- What a step does with it.
  // Ids of the next `tokens` rows: what is not cached yet.
  std::span<const int32_t> NextIds(int32_t tokens) const {
    return {ids_.data() + cached_, static_cast<size_t>(tokens)};
  }
  void AddCached(int32_t tokens) { cached_ += tokens; }
  bool scoring() const { return on_scored_ != nullptr; }
  // Scoring: the id that the logits of row `position` should have predicted.
  int32_t IdAfter(int32_t position) const { return ids_[position + 1]; }
  void AddScore(TokenScore score) { score_.scores.push_back(std::move(score)); }
  // Sampling: the arguments of Sampler::Sample.
  const SamplingParams& sampling() const { return request_.sampling; }
  const TokenHistory& history() const { return history_; }
  TokenConstraint* constraint() const { return request_.constraint.get(); }  // null: none
  uint64_t seed() const { return seed_; }
  uint64_t step() const { return ids_.size() - prompt_tokens_; }

  // Takes the sampled token, reports it, and ends the sequence if it was the last one.
  void Accept(GeneratedToken token, Clock::time_point now);
  // Ends it from outside, with a last report.
  void End(FinishReason reason, absl::Status status, Clock::time_point now);
  // A scoring whose ids are all cached ends well.
  void EndScoring();

 private:
  bool IsEndToken(int32_t id) const;
  void Report(GenerationEvent event);
  void FillUsage(GenerationEvent& event, Clock::time_point now) const;

  GenerationRequest request_;
  TokenHistory history_;
  TextStream text_;
  std::vector<int32_t> end_ids_;
  std::vector<int32_t> ids_;  // prompt, then what was generated
  int32_t prompt_tokens_;
  int64_t max_ids_;
  int32_t max_cached_;
  uint64_t seed_ = 0, number_ = 0;
  int32_t cached_ = 0;
  std::vector<int32_t> pages_;
  bool ended_ = false;
  std::shared_ptr<GenerationHandle> handle_;  // null for a scoring
  std::function<void(ScoreResult)> on_scored_;
  ScoreResult score_;
  Clock::time_point submitted_ = Clock::now();
  Clock::time_point admitted_{}, first_token_{};  // epoch: not yet
};

}  // namespace tandem
