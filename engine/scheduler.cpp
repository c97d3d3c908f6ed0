#include "engine/scheduler.h"

#include <algorithm>

namespace tandem {

void Scheduler::EndInterrupted(Clock::time_point now) {
  const auto end_if_interrupted = [now](const std::unique_ptr<Sequence>& sequence) {
    if (const auto reason = sequence->Interrupted(now))
      sequence->End(*reason, absl::OkStatus(), now);
    return sequence->ended();
  };
  std::erase_if(waiting_, end_if_interrupted);
  for (const auto& sequence : running_) end_if_interrupted(sequence);
  Reap();
}

void Scheduler::EndAll(FinishReason reason, const absl::Status& status, Clock::time_point now) {
  for (const auto& sequence : running_) sequence->End(reason, status, now);
  for (const auto& sequence : waiting_) sequence->End(reason, status, now);
  waiting_.clear();
  Reap();
}

void Scheduler::Reap() {
  for (const auto& sequence : running_)
    if (sequence->ended()) pages_.Release(sequence->pages());
  std::erase_if(running_, [](const auto& sequence) { return sequence->ended(); });
}

std::vector<PlannedSlice> Scheduler::Plan(Clock::time_point now) {
  Admit(now);
  std::vector<PlannedSlice> plan;
  PlanDecode(plan);
  PlanPrefill(plan);
  TANDEM_CHECK(!plan.empty() || (running_.empty() && waiting_.empty()),
               "in a safe state at least one sequence can go on");
  return plan;
}

void Scheduler::Admit(Clock::time_point now) {
  while (!waiting_.empty() && running() < options_.max_sequences) {
    running_.push_back(std::move(waiting_.front()));
    if (!GrantPages(*running_.back(), running_.back()->prompt_tokens())) {
      waiting_.front() = std::move(running_.back());
      running_.pop_back();
      return;  // nobody overtakes the first in the queue
    }
    waiting_.pop_front();
    running_.back()->Admitted(now);
  }
}

// Gives the sequence pages for `tokens` cached tokens, if all claims can still be met afterwards.
bool Scheduler::GrantPages(Sequence& sequence, int64_t tokens) {
  std::vector<int32_t>& held = sequence.pages();
  const int64_t more = PagesFor(tokens) - static_cast<int64_t>(held.size());
  if (more <= 0) return true;
  std::vector<int32_t> granted;
  if (!pages_.Allocate(more, granted)) return false;
  held.insert(held.end(), granted.begin(), granted.end());
  if (IsSafe(pages_.free())) return true;
  held.resize(held.size() - more);
  pages_.Release(granted);
  return false;
}

// Can all running sequences reach their claims, one after another, each giving its pages back at
// its end? Smallest need first is the best order.
bool Scheduler::IsSafe(int64_t free) const {
  struct Claim {
    int64_t need, held;
  };
  std::vector<Claim> claims;
  claims.reserve(running_.size());
  for (const auto& sequence : running_) {
    const int64_t held = static_cast<int64_t>(sequence->pages().size());
    claims.push_back({PagesFor(sequence->max_cached()) - held, held});
  }
  std::sort(claims.begin(), claims.end(),
            [](const Claim& a, const Claim& b) { return a.need < b.need; });
  for (const Claim& claim : claims) {
    if (claim.need > free) return false;
    free += claim.held;
  }
  return true;
}

void Scheduler::PlanDecode(std::vector<PlannedSlice>& plan) {
  for (const auto& sequence : running_)
    if (!sequence->prefilling() && GrantPages(*sequence, sequence->cached() + 1))
      plan.push_back({sequence.get(), 1});
}

int32_t Scheduler::ChunkTokens(const Sequence& sequence) const {
  return std::min(options_.prefill_chunk, sequence.prompt_tokens() - sequence.cached());
}

void Scheduler::PlanPrefill(std::vector<PlannedSlice>& plan) {
  int32_t rows_left = options_.prefill_chunk;
  std::vector<std::unique_ptr<Sequence>> others, served;
  for (auto& sequence : running_) {
    const int32_t tokens = ChunkTokens(*sequence);
    const bool serve = sequence->prefilling() && tokens <= rows_left;
    if (serve) {
      rows_left -= tokens;
      plan.push_back({sequence.get(), tokens});
    }
    (serve ? served : others).push_back(std::move(sequence));
  }
  // Those that had a turn go behind the others.
  running_ = std::move(others);
  std::move(served.begin(), served.end(), std::back_inserter(running_));
}

}  // namespace tandem
