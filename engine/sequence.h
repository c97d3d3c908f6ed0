// One request on its way through the engine: its ids, its pages, its answer so far.
//
// Owned by the scheduler and touched by the engine's thread alone; only the GenerationHandle inside
// is shared with the caller.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/fair_shares.h"
#include "engine/prefix_cache.h"
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
  // Tokens that have to be cached before the next one can be sampled: the prompt; after a
  // preemption, what was generated too.
  int32_t fill_tokens() const { return fill_tokens_; }
  bool prefilling() const { return cached_ < fill_tokens_; }
  // Rows of prefill that it has never been given yet.
  int32_t tokens_to_serve() const { return std::max(0, fill_tokens_ - most_cached_); }
  // Of the next `tokens` rows those that are not computed for a second time.
  int32_t NewTokens(int32_t tokens) const { return std::max(0, cached_ + tokens - most_cached_); }
  bool ended() const { return ended_; }
  bool failed() const { return failed_; }  // ended by an error: what it computed last may be wrong
  std::vector<int32_t>& pages() { return pages_; }
  const std::vector<int32_t>& pages() const { return pages_; }
  PrefixChain& chain() { return chain_; }
  const PrefixChain& chain() const { return chain_; }
  void set_chain(PrefixChain chain) { chain_ = std::move(chain); }
  std::span<const int32_t> ids() const { return ids_; }

  // It runs from now on; what `match` found is in its pages.
  void Admitted(const PrefixMatch& match, Clock::time_point now);
  // Its pages are taken; it goes back to the queue, and later on where it was.
  void Preempted();
  // Requests are numbered as the engine takes them.
  uint64_t number() const { return number_; }
  void set_number(uint64_t number) { number_ = number; }
  // A running number: when it was last given rows, or was admitted.
  uint64_t last_turn() const { return last_turn_; }
  void set_last_turn(uint64_t turn) { last_turn_ = turn; }
  const std::string& label() const { return request_.label; }
  Priority priority() const { return request_.priority; }
  const std::string& fair_share() const { return request_.fair_share; }
  FairShare* share() const { return share_; }
  void set_share(FairShare* share) { share_ = share; }
  void set_place(const QueuePlace& place) {
    if (handle_) handle_->set_place(place);
  }
  int32_t cached_prompt_tokens() const { return cached_prompt_tokens_; }

  // Why it should not go on, if so: cancelled or too late.
  std::optional<FinishReason> Interrupted(Clock::time_point now) const;

  // ---- What a step does with it.
  // Ids of the next `tokens` rows: what is not cached yet.
  std::span<const int32_t> NextIds(int32_t tokens) const {
    return {ids_.data() + cached_, static_cast<size_t>(tokens)};
  }
  void AddCached(int32_t tokens) {
    cached_ += tokens;
    most_cached_ = std::max(most_cached_, cached_);
  }
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
  uint64_t seed_ = 0, number_ = 0, last_turn_ = 0;
  int32_t cached_ = 0, most_cached_ = 0;  // most: before it was preempted
  int32_t fill_tokens_;
  int32_t cached_prompt_tokens_ = 0;  // not computed for this request
  std::vector<int32_t> pages_;
  PrefixChain chain_;
  std::optional<CacheDivergence> divergence_;
  FairShare* share_ = nullptr;
  bool ended_ = false, failed_ = false;
  std::shared_ptr<GenerationHandle> handle_;  // null for a scoring
  std::function<void(ScoreResult)> on_scored_;
  ScoreResult score_;
  Clock::time_point submitted_ = Clock::now();
  Clock::time_point admitted_{}, first_token_{};  // epoch: not yet
};

}  // namespace tandem
