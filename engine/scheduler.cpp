#include "engine/scheduler.h"

#include <algorithm>
#include <tuple>

namespace tandem {

void Scheduler::Enqueue(std::unique_ptr<Sequence> sequence) {
  FairShares& shares = shares_[static_cast<int>(sequence->priority())];
  sequence->set_share(shares.Join(sequence->fair_share()));
  waiting_.Push(std::move(sequence));
}

void Scheduler::LeaveShare(Sequence& sequence) {
  shares_[static_cast<int>(sequence.priority())].Leave(sequence.share());
  sequence.set_share(nullptr);
  sequence.set_place({});
}

// A running sequence has ended.
void Scheduler::Leave(Sequence& sequence) {
  LeaveShare(sequence);
  cache_.Release(sequence.chain(), sequence.ids(), sequence.failed() ? 0 : sequence.cached(),
                 sequence.pages());
}

void Scheduler::EndInterrupted(Clock::time_point now) {
  const auto end_if_interrupted = [now](Sequence& sequence) {
    if (const auto reason = sequence.Interrupted(now)) sequence.End(*reason, absl::OkStatus(), now);
    return sequence.ended();
  };
  waiting_.EraseIf([&](Sequence& sequence) {
    const bool ended = end_if_interrupted(sequence);
    if (ended) LeaveShare(sequence);
    return ended;
  });
  for (const Running& running : running_) end_if_interrupted(*running.sequence);
  Reap();
}

void Scheduler::EndAll(FinishReason reason, const absl::Status& status, Clock::time_point now) {
  for (const Running& running : running_) running.sequence->End(reason, status, now);
  waiting_.EraseIf([&](Sequence& sequence) {
    sequence.End(reason, status, now);
    LeaveShare(sequence);
    return true;
  });
  Reap();
}

void Scheduler::Reap() {
  for (const Running& running : running_) {
    Sequence& sequence = *running.sequence;
    if (sequence.ended()) {
      Leave(sequence);
    } else {
      cache_.Learn(sequence.chain(), sequence.ids(), sequence.cached(), sequence.pages());
    }
  }
  std::erase_if(running_, [](const Running& running) { return running.sequence->ended(); });
}

std::vector<PlannedSlice> Scheduler::Plan(Clock::time_point now) {
  BeginTurns();
  Admit(now);
  std::vector<PlannedSlice> plan;
  PlanDecode(plan);
  PlanPrefill(plan);
  TANDEM_CHECK(!plan.empty() || (running_.empty() && waiting_.empty()),
               "in a safe state at least one sequence can go on");
  return plan;
}

void Scheduler::BeginTurns() {
  for (FairShares& shares : shares_) shares.ClearPending();
  for (Running& running : running_) {
    FairShare& share = *running.sequence->share();
    running.turn_priority = running.sequence->priority();
    running.turn_served = share.served;
    share.pending += running.sequence->tokens_to_serve();
  }
}

void Scheduler::PlanDecode(std::vector<PlannedSlice>& plan) {
  std::vector<Sequence*> decoding;
  for (const Running& running : running_)
    if (!running.sequence->prefilling()) decoding.push_back(running.sequence.get());
  std::ranges::stable_sort(decoding, {}, &Sequence::priority);
  for (Sequence* sequence : decoding) {
    if (!IsRunning(sequence)) continue;  // it made room for one of those before it
    if (sequence->cached() == std::ssize(sequence->pages()) * kPageTokens) {
      if (!MakeRoom({sequence, sequence->pages(), 1, 0})) continue;
      TANDEM_CHECK(cache_.Allocate(1, sequence->pages()), "what is granted is there");
    }
    plan.push_back({sequence, 1});
    sequence->share()->served += 1;
  }
}

int32_t Scheduler::ChunkTokens(const Sequence& sequence) const {
  return std::min(options_.prefill_chunk - sequence.cached() % options_.prefill_chunk,
                  sequence.fill_tokens() - sequence.cached());
}

void Scheduler::PlanPrefill(std::vector<PlannedSlice>& plan) {
  std::vector<Running*> turns;
  for (Running& running : running_) {
    running.had_turn = false;
    if (running.sequence->prefilling()) turns.push_back(&running);
  }
  std::ranges::stable_sort(turns, {}, [](const Running* running) {
    return std::tuple(running->turn_priority, running->turn_served);
  });
  int32_t rows_left = options_.prefill_chunk;
  for (Running* running : turns) {
    const int32_t tokens = ChunkTokens(*running->sequence);
    running->had_turn = tokens <= rows_left;
    if (!running->had_turn) continue;
    rows_left -= tokens;
    running->sequence->share()->served += running->sequence->NewTokens(tokens);
    plan.push_back({running->sequence.get(), tokens});
  }
  // Those that had a turn go behind the others.
  std::ranges::stable_partition(running_, [](const Running& running) { return !running.had_turn; });
}

void Scheduler::TellPlaces(double seconds_each) {
  QueuePlace place;
  for (Sequence* sequence : waiting_.First()) {
    place.wait_s = ++place.position * seconds_each;
    sequence->set_place(place);
  }
}

}  // namespace tandem
