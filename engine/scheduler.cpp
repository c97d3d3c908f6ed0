#include "engine/scheduler.h"

#include <algorithm>
#include <tuple>

namespace tandem {
namespace {

// Its next row is the first of a page.
bool NeedsAPage(const Sequence& sequence) {
  return sequence.cached() == std::ssize(sequence.pages()) * kPageTokens;
}

}  // namespace

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

bool Scheduler::has_work() const {
  const auto waiting = waiting_.by_priority();
  return running() > 0 || waiting[0] + waiting[1] > 0 || (waiting[2] > 0 && !batch_paused_);
}

bool Scheduler::HasOthers() const {
  const auto waiting = waiting_.by_priority();
  return waiting[0] + waiting[1] > 0 || std::ranges::any_of(running_, [](const Running& running) {
           return TurnOf(running.turn_priority) == Turn::kOthers;
         });
}

double Scheduler::BatchStepSeconds(Clock::time_point now) const {
  const double bound = options_.batch_step_s;
  const bool idle = !last_others_ || now - *last_others_ > kIdleAfter;
  return idle && bound > 0 ? std::max(bound, options_.batch_idle_step_s) : bound;
}

std::vector<PlannedSlice> Scheduler::Plan(Clock::time_point now) {
  if (batch_paused_) PreemptBatch();
  BeginTurns();
  Admit(now);
  Draft draft{.all_may_grow = AllMayGrow(), .prefill_rows_left = options_.prefill_chunk};
  PlanDecode(Turn::kOthers, draft);
  PlanPrefill(Turn::kOthers, draft);
  if (draft.rows > 0 || HasOthers()) last_others_ = now;
  draft.rows_left = pace_.RowsBeside(draft.rows, BatchStepSeconds(now));
  PlanDecode(Turn::kBatch, draft);
  PlanPrefill(Turn::kBatch, draft);
  std::vector<PlannedSlice> plan = std::move(draft.decodes);
  plan.insert(plan.end(), draft.prefills.begin(), draft.prefills.end());
  TANDEM_CHECK(!plan.empty() || !has_work(), "in a safe state at least one sequence can go on");
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

// One look at all pages, where there is room, instead of one for each that decodes into a new page.
bool Scheduler::AllMayGrow() {
  holders_.clear();
  bool any = false;
  for (const Running& running : running_) {
    const Sequence& sequence = *running.sequence;
    const bool grows = !sequence.prefilling() && NeedsAPage(sequence);
    holders_.push_back({PagesFor(sequence.max_cached()), sequence.pages(), grows});
    any |= grows;
  }
  return any && banker_.IsSafe(holders_);
}

// The running ones of a kind, in the order in which they may take what a step has room for.
std::vector<Sequence*> Scheduler::InTurn(Turn turn, bool prefilling) const {
  std::vector<const Running*> turns;
  for (const Running& running : running_)
    if (running.sequence->prefilling() == prefilling && TurnOf(running.turn_priority) == turn)
      turns.push_back(&running);
  std::ranges::stable_sort(turns, {}, [](const Running* running) {
    return std::tuple(running->turn_priority, running->turn_served, running->sequence->last_turn());
  });
  std::vector<Sequence*> sequences;
  for (const Running* running : turns) sequences.push_back(running->sequence.get());
  return sequences;
}

void Scheduler::Add(Sequence* sequence, int32_t tokens, std::vector<PlannedSlice>& slices,
                    Draft& draft) {
  slices.push_back({sequence, tokens});
  sequence->set_last_turn(++turns_);
  sequence->share()->served += sequence->NewTokens(tokens);
  draft.rows += tokens;
  draft.rows_left -= tokens;
}

void Scheduler::PlanDecode(Turn turn, Draft& draft) {
  for (Sequence* sequence : InTurn(turn, /*prefilling=*/false)) {
    if (draft.rows_left <= 0) return;
    if (NeedsAPage(*sequence)) {
      // It may have made room for one of those before it.
      const bool granted = draft.all_may_grow ||
                           (IsRunning(sequence) && MakeRoom({sequence, sequence->pages(), 1, 0}));
      if (!granted) continue;
      TANDEM_CHECK(cache_.Allocate(1, sequence->pages()), "what is granted is there");
    }
    Add(sequence, 1, draft.decodes, draft);
  }
}

int32_t Scheduler::ChunkTokens(const Sequence& sequence) const {
  return std::min(options_.prefill_chunk - sequence.cached() % options_.prefill_chunk,
                  sequence.fill_tokens() - sequence.cached());
}

void Scheduler::PlanPrefill(Turn turn, Draft& draft) {
  for (Sequence* sequence : InTurn(turn, /*prefilling=*/true)) {
    if (draft.rows_left <= 0) return;
    const int32_t tokens = std::min(ChunkTokens(*sequence), draft.rows_left);
    if (tokens > draft.prefill_rows_left) continue;
    draft.prefill_rows_left -= tokens;
    Add(sequence, tokens, draft.prefills, draft);
  }
}

void Scheduler::TellPlaces(double seconds_each) {
  QueuePlace place;
  for (Sequence* sequence : waiting_.First()) {
    place.wait_s = ++place.position * seconds_each;
    sequence->set_place(place);
  }
}

}  // namespace tandem
