// Who gets in, and who has to make room.
#include <algorithm>

#include "engine/scheduler.h"

namespace tandem {

void Scheduler::Admit(Clock::time_point now) {
  if (waiting_.empty()) return;
  const bool has_place = running() < options_.max_sequences;
  int32_t kept_places = 0;
  for (Sequence* next : waiting_.First(options_.max_sequences)) {
    if (batch_paused_ && next->priority() == Priority::kBatch) return;
    if (!has_place && LowerThan(next->priority()).empty()) return;
    if (Running* leader = LeaderOf(*next); leader != nullptr) {
      leader->turn_priority = std::min(leader->turn_priority, next->priority());
      leader->turn_served = std::min(leader->turn_served, next->share()->served);
      ++kept_places;
      continue;
    }
    if (!AdmitIfFits(next, kept_places, now)) return;  // nobody overtakes the first in the queue
  }
}

// The running sequence that is about to compute the page which `waiting` would need next, or an
// earlier one of its prompt. What is computed already is in the cache.
Scheduler::Running* Scheduler::LeaderOf(const Sequence& waiting) {
  if (!waiting.chain().used) return nullptr;
  const auto& wanted = waiting.chain().hashes;
  const auto leads = [&](const Running& running) {
    const Sequence& sequence = *running.sequence;
    const auto& computed = sequence.chain().hashes;
    const size_t page = sequence.cached() / kPageTokens;
    return sequence.prefilling() && sequence.chain().used && page < computed.size() &&
           page < wanted.size() && computed[page] == wanted[page];
  };
  const auto leader = std::ranges::find_if(running_, leads);
  return leader == running_.end() ? nullptr : &*leader;
}

bool Scheduler::AdmitIfFits(Sequence* next, int32_t kept_places, Clock::time_point now) {
  const auto find = [&] {
    return cache_.Find(next->chain(), next->ids(), next->fill_tokens() - 1);
  };
  PrefixMatch match = find();
  const int64_t pages = PagesFor(next->fill_tokens());
  if (!MakeRoom({next, match.pages, pages - std::ssize(match.pages), kept_places})) return false;
  // Who made room has left pages that may be of use, and may have made others superfluous.
  match = find();
  running_.push_back({waiting_.Take(next), ++admissions_});
  Start(*next, std::move(match), now);
  running_.back().turn_priority = next->priority();
  running_.back().turn_served = next->share()->served;
  return true;
}

void Scheduler::Start(Sequence& sequence, PrefixMatch match, Clock::time_point now) {
  std::vector<int32_t>& pages = sequence.pages();
  cache_.Take(match, sequence.chain(), pages);
  const int64_t own = PagesFor(sequence.fill_tokens()) - std::ssize(pages);
  bool allocated = false;
  if (match.copy_tokens > 0) {
    cache_.Pin(match.copy_from);
    allocated = cache_.Allocate(own, pages);
    if (allocated) copy_page_(match.copy_from, pages[match.pages.size()]);
    cache_.Unpin(match.copy_from);
    // The page to be copied may be the very one that has to make room.
    if (!allocated) match.copy_tokens = 0;
  }
  if (!allocated) TANDEM_CHECK(cache_.Allocate(own, pages), "what is granted is there");
  cache_.Restore(match, sequence.chain(), sequence.ids(), pages);
  const int32_t before = sequence.cached_prompt_tokens();
  sequence.Admitted(match, now);
  sequence.set_last_turn(turns_);  // behind those that run already
  cached_prompt_tokens_ += sequence.cached_prompt_tokens() - before;
  sequence.share()->pending += sequence.tokens_to_serve();
}

// True if the wanted can be had; then those that have to go for it have gone.
bool Scheduler::MakeRoom(const Wanted& wanted) {
  if (Fits(wanted, {})) return true;
  const std::vector<Sequence*> lower = LowerThan(wanted.sequence->priority());
  if (lower.empty() || !Fits(wanted, lower)) return false;
  size_t too_few = 0, enough = lower.size();
  while (enough - too_few > 1) {
    const size_t middle = (too_few + enough) / 2;
    (Fits(wanted, std::span(lower).first(middle)) ? enough : too_few) = middle;
  }
  for (Sequence* victim : std::span(lower).first(enough)) Preempt(victim);
  return true;
}

bool Scheduler::Fits(const Wanted& wanted, std::span<Sequence* const> without) {
  holders_.clear();
  for (const Running& running : running_) {
    const Sequence* sequence = running.sequence.get();
    if (sequence == wanted.sequence || std::ranges::count(without, sequence) > 0) continue;
    holders_.push_back({PagesFor(sequence->max_cached()), sequence->pages(), 0});
  }
  const auto others = std::ssize(holders_);
  if (others + wanted.kept_places >= options_.max_sequences) return false;
  holders_.push_back({PagesFor(wanted.sequence->max_cached()), wanted.pages, wanted.more});
  return banker_.IsSafe(holders_);
}

// In the order in which they make room.
std::vector<Sequence*> Scheduler::LowerThan(Priority priority) const {
  std::vector<const Running*> lower;
  for (const Running& running : running_)
    if (running.sequence->priority() > priority) lower.push_back(&running);
  std::ranges::sort(lower, [](const Running* a, const Running* b) {
    if (a->sequence->priority() != b->sequence->priority())
      return a->sequence->priority() > b->sequence->priority();
    return a->admission > b->admission;
  });
  std::vector<Sequence*> sequences;
  for (const Running* running : lower) sequences.push_back(running->sequence.get());
  return sequences;
}

void Scheduler::Preempt(Sequence* victim) {
  const auto at = std::ranges::find_if(
      running_, [victim](const Running& running) { return running.sequence.get() == victim; });
  victim->share()->pending -= victim->tokens_to_serve();
  cache_.Release(victim->chain(), victim->ids(), victim->cached(), victim->pages());
  victim->Preempted();
  waiting_.Push(std::move(at->sequence));
  running_.erase(at);
  ++preemptions_;
}

void Scheduler::PreemptBatch() {
  for (Sequence* sequence : LowerThan(Priority::kNormal)) Preempt(sequence);
}

bool Scheduler::IsRunning(const Sequence* sequence) const {
  return std::ranges::any_of(
      running_, [sequence](const Running& running) { return running.sequence.get() == sequence; });
}

}  // namespace tandem
