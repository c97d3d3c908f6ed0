// Drives a scheduler without any model. The next token is a hash of all before it, and the pages'
// contents are kept, so that a row that meets a wrong page is seen at once.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "engine/scheduler.h"
#include "tests/engine/fake_backend.h"

namespace tandem::testing {

class SchedulerDriver {
 public:
  SchedulerDriver(SchedulerOptions options, int64_t kv_pages, bool caches = true,
                  int32_t ram_pages = 0, int hash_bits = 128)
      : pages_(kv_pages),
        content_(kv_pages * kPageTokens, -1),
        cache_(pages_, PageHasher("test", hash_bits), TierOf(ram_pages)),
        caches_(caches),
        scheduler_(options, cache_, [this](int32_t from, int32_t to) {
          std::copy_n(Content(from), kPageTokens, Content(to));
        }) {}
  ~SchedulerDriver() {
    scheduler_.EndAll(FinishReason::kCancelled, absl::OkStatus(), Clock::now());
  }

  struct Outcome {
    std::optional<FinishReason> finish;
    int tokens = 0;
    int admitted_at_step = -1;
    std::vector<int32_t> chunks;
    std::vector<int32_t> ids;
    GenerationEvent last;
  };

  // Returns the number of the request.
  int Add(GenerationRequest request, int64_t context = 100000) {
    const int number = static_cast<int>(outcomes_.size());
    outcomes_.emplace_back();
    request.on_event = [this, number](const GenerationEvent& event) {
      Outcome& outcome = outcomes_[number];
      outcome.tokens += static_cast<int>(event.tokens.size());
      for (const auto& token : event.tokens) outcome.ids.push_back(token.id);
      if (!event.finish) return;
      EXPECT_FALSE(outcome.finish) << "request " << number << " ended twice";
      outcome.finish = event.finish;
      outcome.last = event;
    };
    handles_.push_back(std::make_shared<GenerationHandle>());
    std::string salt = request.cache_salt;
    auto sequence = std::make_unique<Sequence>(
        std::move(request), 1, tokenizer_, Sequence::Limits{context, {kFakeEnd}}, handles_.back());
    if (caches_) sequence->set_chain(cache_.MakeChain(salt, sequence->ids()));
    sequence->set_number(number);
    numbers_[sequence.get()] = number;
    scheduler_.Enqueue(std::move(sequence));
    return number;
  }
  // A prompt that is like no other.
  int Add(int32_t prompt_tokens, int32_t max_tokens, int64_t context = 100000,
          std::optional<Clock::time_point> deadline = {}, Priority priority = Priority::kNormal) {
    GenerationRequest request;
    request.prompt_ids.assign(prompt_tokens, 3);
    request.prompt_ids[0] = static_cast<int32_t>(outcomes_.size());
    request.max_tokens = max_tokens;
    request.deadline = deadline;
    request.priority = priority;
    return Add(std::move(request), context);
  }

  // One step; returns the requests with a row in it, decoding ones first as planned.
  std::vector<int> Step() {
    const Clock::time_point now = Clock::now() + later_;
    scheduler_.EndInterrupted(now);
    std::vector<int> order;
    rows_ = prefill_rows_ = 0;
    const std::vector<PlannedSlice> plan = scheduler_.Plan(now);
    CheckPages(plan);
    for (const auto& [sequence, tokens] : plan) {
      const int number = numbers_.at(sequence);
      order.push_back(number);
      Outcome& outcome = outcomes_[number];
      if (outcome.admitted_at_step < 0) outcome.admitted_at_step = steps_;
      rows_ += tokens;
      if (sequence->prefilling()) {
        prefill_rows_ += tokens;
        outcome.chunks.push_back(tokens);
      }
      Compute(*sequence, tokens);
      if (!sequence->prefilling()) sequence->Accept({NextId(*sequence), 0, {}}, now);
    }
    total_prefill_rows_ += prefill_rows_;
    scheduler_.Reap();
    ++steps_;
    return order;
  }
  void RunAll(int most_steps = 100000) {
    while (scheduler_.running() + scheduler_.waiting().size() > 0 && --most_steps > 0) Step();
    ASSERT_GT(most_steps, 0) << "the scheduler does not come to an end";
    EXPECT_EQ(pages_.used(), 0);
  }

  FakeTokenizer tokenizer_;
  KvPages pages_;
  std::vector<int32_t> content_;  // the token at each place of each page
  PrefixCache cache_;
  bool caches_;
  std::chrono::seconds later_{0};  // than it is
  Scheduler scheduler_;
  std::vector<Outcome> outcomes_;
  std::vector<std::shared_ptr<GenerationHandle>> handles_;
  std::map<const Sequence*, int> numbers_;
  int steps_ = 0, rows_ = 0, prefill_rows_ = 0;
  int64_t total_prefill_rows_ = 0;

 private:
  std::unique_ptr<PageTier> TierOf(int32_t ram_pages) {
    if (ram_pages == 0) return nullptr;
    return std::make_unique<PageTier>(std::make_unique<FakePageStore>(content_, ram_pages));
  }
  std::vector<int32_t>::iterator Content(int32_t page) {
    return content_.begin() + int64_t{page} * kPageTokens;
  }
  // Below 90, so never an end token.
  static int32_t NextId(const Sequence& sequence) {
    uint64_t hash = 0;
    for (int32_t id : sequence.ids()) hash = HashNext(hash, id);
    return static_cast<int32_t>(hash % 90);
  }
  // A page that a step writes into has one holder.
  void CheckPages(const std::vector<PlannedSlice>& plan) {
    for (const auto& [sequence, tokens] : plan) {
      EXPECT_LE(PagesFor(sequence->cached() + tokens), std::ssize(sequence->pages()));
      for (int32_t at = sequence->cached(); at < sequence->cached() + tokens; ++at)
        EXPECT_EQ(pages_.references(sequence->pages()[at / kPageTokens]), 1);
    }
  }
  void Compute(Sequence& sequence, int32_t tokens) {
    const auto place = [&](int32_t at) {
      return Content(sequence.pages()[at / kPageTokens]) + at % kPageTokens;
    };
    for (int32_t at = 0; at < sequence.cached(); ++at)
      ASSERT_EQ(*place(at), sequence.ids()[at]) << "position " << at;
    for (int32_t i = 0; i < tokens; ++i)
      *place(sequence.cached() + i) = sequence.ids()[sequence.cached() + i];
    sequence.AddCached(tokens);
  }
};

}  // namespace tandem::testing
