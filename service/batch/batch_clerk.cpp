// The clerk: looks at all batches that have not ended, and decides which are checked, run, stopped.
#include <algorithm>
#include <utility>

#include "core/log.h"
#include "service/batch/batch_input_check.h"
#include "service/batch/batch_queue.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;

constexpr auto kLook = 1s;            // at least so often: windows end by themselves
constexpr auto kSweep = 60s;          // for what has expired
constexpr auto kLandPatience = 10s;   // of requests in flight, of a batch that ends early
constexpr auto kTurnPatience = 5min;  // of a batch that makes room
constexpr auto kCheckPause = 30s;     // before an input that could not be read is tried again
constexpr size_t kMostEnding = 8;     // batches that are only brought to their end, at once

bool HasExpired(const BatchRecord& batch) { return NowSeconds() >= batch.expires_s; }

// Its place is not needed for long.
bool IsEnding(const BatchRecord& batch) {
  return batch.status == BatchStatus::kCancelling || batch.status == BatchStatus::kFinalizing ||
         HasExpired(batch);
}

void AbandonSlot(BatchSlot& slot, const BatchRecord& batch) {
  if (batch.status == BatchStatus::kCancelling) {
    slot.Abandon(kLandPatience, "batch_cancelled",
                 "the batch was cancelled before this request was done");
  } else if (batch.status == BatchStatus::kInProgress && HasExpired(batch)) {
    slot.Abandon(kLandPatience, "batch_expired",
                 "this request was not done within the batch's completion_window");
  }
}

}  // namespace

void BatchQueue::Clerk() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    changed_by_caller_ = false;
    JoinFinished(lock);
    absl::Status looked = ValidateAll(lock);
    if (looked.ok() && !closing_) looked = LookAround();
    if (looked.ok() && Clock::now() >= next_sweep_) looked = Sweep();
    if (!looked.ok()) LogError("batches: {}", looked.ToString());
    changed_.wait_for(lock, kLook,
                      [this] { return closing_ || changed_by_caller_ || !finished_.empty(); });
  }
}

void BatchQueue::JoinFinished(std::unique_lock<std::mutex>& lock) {
  auto finished = std::exchange(finished_, {});
  lock.unlock();
  for (const auto& slot : finished) slot->thread.join();
  lock.lock();
}

absl::Status BatchQueue::ValidateAll(std::unique_lock<std::mutex>& lock) {
  TANDEM_ASSIGN_OR_RETURN(const auto open, database_->OpenBatches());
  for (const BatchRecord& batch : open) {
    const auto pause = not_before_.find(batch.id);
    if (batch.status != BatchStatus::kValidating || closing_ ||
        (pause != not_before_.end() && Clock::now() < pause->second)) {
      continue;
    }
    lock.unlock();
    const auto checked = CheckBatchInput(files_->PathOf(batch.input_file), batch.endpoint,
                                         service_.limits, options_.limits.max_requests);
    lock.lock();
    if (absl::IsNotFound(checked.status())) {
      TANDEM_RETURN_IF_ERROR(Refuse(batch.id, {{"input_lost", "the input file is gone", 0}}));
    } else if (!checked.ok()) {
      not_before_[batch.id] = Clock::now() + kCheckPause;
      return checked.status();
    } else if (!checked->faults.empty()) {
      TANDEM_RETURN_IF_ERROR(Refuse(batch.id, checked->faults));
    } else {
      TANDEM_RETURN_IF_ERROR(Update(batch.id, [&](BatchRecord& record) {
                               if (record.status != BatchStatus::kValidating)
                                 return absl::OkStatus();  // cancelled meanwhile
                               record.status = BatchStatus::kInProgress;
                               record.in_progress_s = NowSeconds();
                               record.total = checked->requests;
                               return absl::OkStatus();
                             }).status());
    }
  }
  return absl::OkStatus();
}

absl::Status BatchQueue::Refuse(const std::string& id, const std::vector<BatchFault>& faults) {
  return Update(id,
                [&](BatchRecord& record) {
                  if (HasEnded(record.status)) return absl::OkStatus();
                  record.status = BatchStatus::kFailed;
                  record.failed_s = NowSeconds();
                  record.faults = faults;
                  return absl::OkStatus();
                })
      .status();
}

absl::Status BatchQueue::LookAround() {
  TANDEM_ASSIGN_OR_RETURN(const auto open, database_->OpenBatches());
  paused_ = 0;
  for (const BatchRecord& batch : open) {
    const auto slot = slots_.find(batch.id);
    if (slot != slots_.end()) {
      AbandonSlot(*slot->second, batch);
    } else if (IsEnding(batch) && MayTry(batch) &&
               slots_.size() < kMostEnding + static_cast<size_t>(options_.limits.max_running)) {
      Begin(batch);
    } else {
      paused_ += batch.paused || all_paused_;
    }
  }
  const BatchRecord* next = ChooseNext(open);
  while (next != nullptr && std::ssize(slots_) < options_.limits.max_running) {
    Begin(*next);
    next = ChooseNext(open);
  }
  if (next != nullptr) MakeRoomFor(next->owner);
  waiting_ = std::ranges::count_if(
      open, [this](const BatchRecord& batch) { return !slots_.contains(batch.id); });
  waiting_ -= paused_;
  return absl::OkStatus();
}

bool BatchQueue::MayTry(const BatchRecord& batch) const {
  if (batch.status == BatchStatus::kValidating) return false;
  const auto pause = not_before_.find(batch.id);
  return pause == not_before_.end() || Clock::now() >= pause->second;
}

bool BatchQueue::OwnerIsKnown(const std::string& owner) const {
  if (service_.keys == nullptr || service_.keys->empty()) return true;
  return std::ranges::any_of(service_.keys->entries(),
                             [&](const ApiKeys::Entry& entry) { return entry.name == owner; });
}

int32_t BatchQueue::RunningOf(const std::string& owner) const {
  return static_cast<int32_t>(std::ranges::count_if(
      slots_, [&](const auto& entry) { return entry.second->owner() == owner; }));
}

// Of the owner with the fewest at work; among equals, of the one served least recently; its oldest.
const BatchRecord* BatchQueue::ChooseNext(const std::vector<BatchRecord>& open) const {
  const BatchRecord* next = nullptr;
  std::pair<int32_t, int64_t> best;
  for (const BatchRecord& batch : open) {
    if (batch.status != BatchStatus::kInProgress || batch.paused || all_paused_ || !MayTry(batch) ||
        slots_.contains(batch.id) || !OwnerIsKnown(batch.owner)) {
      continue;
    }
    const auto turn = turns_.find(batch.owner);
    const std::pair<int32_t, int64_t> rank = {RunningOf(batch.owner),
                                              turn == turns_.end() ? 0 : turn->second};
    if (next != nullptr && rank >= best) continue;
    next = &batch;
    best = rank;
  }
  return next;
}

// A batch that has had its turn lets one of another owner in, who has fewer at work.
void BatchQueue::MakeRoomFor(const std::string& owner) {
  const auto turn = std::chrono::seconds(options_.limits.turn_s);
  for (const auto& [id, slot] : slots_)
    if (slot->leaving()) return;  // there will be room
  for (const auto& [id, slot] : slots_) {
    if (RunningOf(slot->owner()) <= RunningOf(owner)) continue;
    if (Clock::now() < slot->since() + turn) continue;
    return slot->Stop(kTurnPatience);
  }
}

void BatchQueue::Begin(const BatchRecord& batch) {
  auto slot = std::make_shared<BatchSlot>(batch.id, batch.owner);
  AbandonSlot(*slot, batch);
  turns_[batch.owner] = ++turn_;
  slots_[batch.id] = slot;
  slot->thread = std::thread([this, slot] { Work(slot); });
}

absl::Status BatchQueue::Sweep() {
  next_sweep_ = Clock::now() + kSweep;
  const int64_t now = NowSeconds();
  TANDEM_RETURN_IF_ERROR(files_->RemoveExpired(now));
  TANDEM_ASSIGN_OR_RETURN(const auto old,
                          database_->BatchesEndedBefore(now - options_.limits.keep_s));
  for (const BatchRecord& batch : old) {
    TANDEM_RETURN_IF_ERROR(database_->RemoveBatch(batch.id));
    RemoveJobFiles(batch.id);
  }
  return absl::OkStatus();
}

}  // namespace tandem
