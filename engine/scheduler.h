// Decides what each step computes. Pure logic: no model, no thread, no clock of its own.
//
// A step holds one row for every sequence that decodes, then prefill chunks. A prompt is always cut
// at the same places, multiples of prefill_chunk from its start, whatever else runs: so a request
// meets the same shapes, and gets the same bits, alone or in company. Chunks take turns, so a long
// prompt does not hold up short ones.
//
// Pages: a sequence is admitted in order of arrival, takes the pages of its prompt, and one more
// page each time it grows into it. It may claim up to what prompt + max_tokens need. An allocation
// is granted only if afterwards all running sequences can still reach their claims one after
// another (Dijkstra's banker); otherwise it waits: a request in the queue, a decoding one for some
// steps. So pages are shared well when most answers stay far below their limit, nothing is ever
// computed twice, and no set of requests can block itself. Not done yet: sharing of common
// prefixes, priorities.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/kv_pages.h"
#include "engine/sequence.h"

namespace tandem {

struct SchedulerOptions {
  int32_t prefill_chunk = 512;  // most prefill rows of a step
  int32_t max_sequences = 64;   // most running sequences
};

struct PlannedSlice {
  Sequence* sequence;
  int32_t tokens;  // rows: the next ids that are not cached
};

class Scheduler {
 public:
  // `pages` must outlive the scheduler.
  Scheduler(SchedulerOptions options, KvPages& pages) : options_(options), pages_(pages) {}
  ~Scheduler() { TANDEM_CHECK(running_.empty(), "all sequences end before the scheduler"); }

  // REQUIRES: its largest claim fits into an empty cache.
  void Enqueue(std::unique_ptr<Sequence> sequence) { waiting_.push_back(std::move(sequence)); }

  // Ends those that are cancelled or late, waiting or running, and frees what they held.
  void EndInterrupted(Clock::time_point now);
  // Ends all with this report, and frees everything.
  void EndAll(FinishReason reason, const absl::Status& status, Clock::time_point now);
  // Forgets running sequences that have ended; their pages become free.
  void Reap();

  // Admits what fits, then plans one step and allocates its pages. Empty only if nothing waits and
  // nothing runs. The slices stay valid until Reap().
  std::vector<PlannedSlice> Plan(Clock::time_point now);

  int32_t waiting() const { return static_cast<int32_t>(waiting_.size()); }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }

 private:
  void Admit(Clock::time_point now);
  bool GrantPages(Sequence& sequence, int64_t tokens);
  bool IsSafe(int64_t free) const;
  void PlanDecode(std::vector<PlannedSlice>& plan);
  void PlanPrefill(std::vector<PlannedSlice>& plan);
  int32_t ChunkTokens(const Sequence& sequence) const;

  SchedulerOptions options_;
  KvPages& pages_;
  std::deque<std::unique_ptr<Sequence>> waiting_;   // in order of arrival
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of turn for prefill
};

}  // namespace tandem
