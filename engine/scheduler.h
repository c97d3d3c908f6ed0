// Decides what each step computes. Pure logic: no model, no thread, no clock of its own.
//
// A step holds one row for every sequence that decodes, then prefill chunks. A prompt is always cut
// at the same places, multiples of prefill_chunk from its start, whatever else runs: so a request
// meets the same shapes, and gets the same bits, alone or in company. Chunks take turns, so a long
// prompt does not hold up short ones; who has a higher priority, then who was served least
// (fair_shares.h), has the first turn.
//
// Admission is in the order of WaitQueue, and nobody overtakes the first in it. A prompt takes what
// the prefix cache holds of it, and pages for the rest. While a running sequence computes pages
// that a waiting one could share, that one waits for them, and its place is kept.
//
// Pages: a sequence takes one more page each time it grows into it. It may claim up to what prompt
// + max_tokens need. An allocation is granted only if afterwards all running sequences can still
// reach their claims one after another (page_banker.h); otherwise it waits: a request in the queue,
// a decoding one for some steps. So pages are shared well when most answers stay far below their
// limit, and no set of requests can block itself.
//
// Preemption: if a place or pages are missing for a request of higher priority, waiting or running,
// then as few running ones of lower priority as suffice go back to the queue, lowest first, the one
// admitted last first. Their pages stay in the prefix cache as long as there is room; what is gone
// by the time of their return is computed again.
//
// Batch work fills what the others leave. Its rows are planned last, and with a bound on the time
// of a step (batch_pace.h) only as many as keep within it; so its prompts may be cut at other
// places, and its decoding sequences take turns. Beside others it may get no row at all; alone it
// gets at least one. While it is paused none is admitted, and running ones are preempted.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/batch_pace.h"
#include "engine/fair_shares.h"
#include "engine/page_banker.h"
#include "engine/prefix_cache.h"
#include "engine/sequence.h"
#include "engine/wait_queue.h"

namespace tandem {

struct SchedulerOptions {
  int32_t prefill_chunk = 512;   // most prefill rows of a step
  int32_t max_sequences = 64;    // most running sequences
  double batch_step_s = 0;       // most seconds of a step with batch rows in it; 0: no bound
  double batch_idle_step_s = 0;  // the same while no others come, if it is more
};

struct PlannedSlice {
  Sequence* sequence;
  int32_t tokens;  // rows: the next ids that are not cached
};

class Scheduler {
 public:
  // Copies a page of the latent cache over another one.
  using CopyPage = std::function<void(int32_t from, int32_t to)>;

  // `cache` must outlive the scheduler.
  Scheduler(SchedulerOptions options, PrefixCache& cache, CopyPage copy_page)
      : options_(options),
        cache_(cache),
        copy_page_(std::move(copy_page)),
        banker_(cache.pages().total()) {}
  ~Scheduler() { TANDEM_CHECK(running_.empty(), "all sequences end before the scheduler"); }

  // REQUIRES: its largest claim fits into an empty cache; its number is larger than those before.
  void Enqueue(std::unique_ptr<Sequence> sequence);

  // Ends those that are cancelled or late, waiting or running, and frees what they held.
  void EndInterrupted(Clock::time_point now);
  // Ends all with this report, and frees everything.
  void EndAll(FinishReason reason, const absl::Status& status, Clock::time_point now);
  // After a step: what it computed is known to the prefix cache. Running sequences that have ended
  // are forgotten; their pages become free.
  void Reap();

  // Admits what fits, then plans one step and allocates its pages. Empty only if there is nothing
  // to do. The slices stay valid until Reap().
  std::vector<PlannedSlice> Plan(Clock::time_point now);
  // Whether anything runs, or waits and may be admitted.
  bool has_work() const;

  // From the next Plan() on.
  void PauseBatch(bool paused) { batch_paused_ = paused; }
  // What a planned step took. REQUIRES: rows > 0.
  void NoteStep(int32_t rows, double seconds) { pace_.Note(rows, seconds); }

  // Tells those that wait their places, at so many seconds per admission.
  void TellPlaces(double seconds_each);

  const WaitQueue& waiting() const { return waiting_; }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }
  int64_t preemptions() const { return preemptions_; }
  int64_t cached_prompt_tokens() const { return cached_prompt_tokens_; }

 private:
  struct Running {
    std::unique_ptr<Sequence> sequence;
    uint64_t admission;  // a running number
    // Its turn: its own, or that of one who waits for what it computes.
    Priority turn_priority = Priority::kBatch;
    double turn_served = 0;
  };
  // A step that is being put together.
  struct Draft {
    std::vector<PlannedSlice> decodes, prefills;
    bool all_may_grow = false;  // nobody's next page has to wait
    int32_t rows = 0;
    int32_t prefill_rows_left = 0;
    int32_t rows_left = BatchPace::kUnbounded;  // for those whose turn it is: batch work or others
  };
  enum class Turn { kOthers, kBatch };
  static Turn TurnOf(Priority priority) {
    return priority == Priority::kBatch ? Turn::kBatch : Turn::kOthers;
  }
  // The pages that a sequence, running or waiting, would hold if it got what it wants.
  struct Wanted {
    Sequence* sequence;
    std::span<const int32_t> pages;
    int64_t more;
    int32_t kept_places;  // for others; a running sequence needs no place
  };

  // scheduler_admission.cpp
  void Admit(Clock::time_point now);
  Running* LeaderOf(const Sequence& waiting);
  bool AdmitIfFits(Sequence* next, int32_t kept_places, Clock::time_point now);
  void Start(Sequence& sequence, PrefixMatch match, Clock::time_point now);
  bool MakeRoom(const Wanted& wanted);
  bool Fits(const Wanted& wanted, std::span<Sequence* const> without);
  std::vector<Sequence*> LowerThan(Priority priority) const;
  void Preempt(Sequence* victim);
  void PreemptBatch();
  bool IsRunning(const Sequence* sequence) const;

  void BeginTurns();
  void Leave(Sequence& sequence);
  void LeaveShare(Sequence& sequence);
  bool AllMayGrow();
  bool HasOthers() const;                                // than batch work, waiting or running
  double BatchStepSeconds(Clock::time_point now) const;  // at most, with batch rows in it; 0: any
  std::vector<Sequence*> InTurn(Turn turn, bool prefilling) const;
  void Add(Sequence* sequence, int32_t tokens, std::vector<PlannedSlice>& slices, Draft& draft);
  void PlanDecode(Turn turn, Draft& draft);
  void PlanPrefill(Turn turn, Draft& draft);
  int32_t ChunkTokens(const Sequence& sequence) const;

  SchedulerOptions options_;
  PrefixCache& cache_;
  CopyPage copy_page_;
  // How long nobody but batch work has to be there until its steps may be longer.
  static constexpr std::chrono::seconds kIdleAfter{10};
  BatchPace pace_;
  std::optional<Clock::time_point> last_others_;
  bool batch_paused_ = false;
  PageBanker banker_;
  std::array<FairShares, kPriorities> shares_;
  WaitQueue waiting_;
  std::vector<Running> running_;  // in order of admission
  std::vector<PageHolder> holders_;
  uint64_t admissions_ = 0, turns_ = 0;
  int64_t preemptions_ = 0, cached_prompt_tokens_ = 0;
};

}  // namespace tandem
