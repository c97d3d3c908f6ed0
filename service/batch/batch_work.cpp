// A batch's own thread: runs its job, and brings what came of it to the clients' files.
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "service/api/random_id.h"
#include "service/batch/batch_queue.h"
#include "service/batch/batch_results.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;

constexpr auto kRetryPause = 30s;
constexpr int kIdLength = 24;

// What is lost does not come back by waiting.
bool IsForGood(const absl::Status& error) {
  return absl::IsDataLoss(error) || absl::IsInvalidArgument(error) || absl::IsNotFound(error) ||
         absl::IsAlreadyExists(error);
}

// For clients: without the server's paths.
std::string ProblemOf(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kResourceExhausted:
      return "the server's disk is full";
    case absl::StatusCode::kFailedPrecondition:
      return "the server runs another model, or the model with other settings, than the batch was "
             "begun with";
    case absl::StatusCode::kUnavailable:
      return "the engine could not answer";
    default:
      return "the server's log says what";
  }
}

}  // namespace

BatchOptions BatchQueue::JobOptions(const BatchRecord& batch) const {
  return {.input_path = files_->PathOf(batch.input_file),
          .output_path = JobPath(batch.id),
          .endpoint = batch.endpoint,
          .max_in_flight = options_.max_in_flight,
          .answered_by = options_.answered_by,
          .caller = {.name = batch.owner, .admin = false}};
}

void BatchQueue::Work(const std::shared_ptr<BatchSlot>& slot) {
  const std::string& id = slot->id();
  const absl::Status ran = RunJob(*slot);
  std::lock_guard lock(mutex_);
  if (!ran.ok()) {
    LogError("{}: {}; it is tried again in {} s", id, ran.ToString(), kRetryPause.count());
    not_before_[id] = Clock::now() + kRetryPause;
    Update(id, [&](BatchRecord& record) {
      record.problem = ProblemOf(ran);
      return absl::OkStatus();
    }).IgnoreError();
  } else {
    not_before_.erase(id);
  }
  slots_.erase(id);
  finished_.push_back(slot);
  changed_.notify_all();
}

// An error: it can be tried again.
absl::Status BatchQueue::RunJob(BatchSlot& slot) {
  const std::string& id = slot.id();
  TANDEM_ASSIGN_OR_RETURN(const auto found, database_->FindBatch(id));
  if (!found) return absl::OkStatus();
  auto opened = BatchJob::Open(service_, JobOptions(*found));
  if (!opened.ok()) return SettleUnopened(*found, opened.status());
  {
    std::lock_guard lock(mutex_);
    slot.SetJob(*std::move(opened));
    if (closing_) slot.Stop(0ms);
  }
  const absl::Status ran = slot.job()->Run();
  const BatchProgress progress = slot.job()->progress();
  {
    std::lock_guard lock(mutex_);
    done_ += slot.done();
    failed_ += slot.failed();
    slot.TakeJob();  // with the journal's lock
    TANDEM_RETURN_IF_ERROR(Update(id, [&](BatchRecord& record) {
                             record.total = progress.requests;
                             record.done = progress.done;
                             record.failed = progress.failed;
                             if (ran.ok()) record.problem.clear();
                             return absl::OkStatus();
                           }).status());
  }
  if (!ran.ok()) return IsForGood(ran) ? FailFor(id, ran) : ran;
  return progress.state == BatchState::kDone ? Settle(id, progress) : absl::OkStatus();
}

absl::Status BatchQueue::Settle(const std::string& id, const BatchProgress& progress) {
  TANDEM_ASSIGN_OR_RETURN(const auto found, database_->FindBatch(id));
  if (found && found->status == BatchStatus::kCancelling) return End(id, BatchStatus::kCancelled);
  return End(id, progress.by_code.contains("batch_expired") ? BatchStatus::kExpired
                                                            : BatchStatus::kCompleted);
}

// A batch that ends early does so even if it cannot be taken up any more: with what there is.
absl::Status BatchQueue::SettleUnopened(const BatchRecord& batch, const absl::Status& error) {
  if (batch.status == BatchStatus::kCancelling || NowSeconds() >= batch.expires_s) {
    LogWarning("{} ends without taking it up: {}", batch.id, error.ToString());
    const absl::Status ended =
        End(batch.id, batch.status == BatchStatus::kCancelling ? BatchStatus::kCancelled
                                                               : BatchStatus::kExpired);
    return IsForGood(ended) ? FailFor(batch.id, ended) : ended;
  }
  return IsForGood(error) ? FailFor(batch.id, error) : error;
}

absl::Status BatchQueue::FailFor(const std::string& id, const absl::Status& error) {
  LogError("{} has failed: {}", id, error.ToString());
  std::lock_guard lock(mutex_);
  return Refuse(id,
                {{"server_error",
                  "the batch's files on the server are damaged or gone; its log says more", 0}});
}

absl::Status BatchQueue::End(const std::string& id, BatchStatus status) {
  BatchRecord batch;
  {
    std::lock_guard lock(mutex_);
    TANDEM_ASSIGN_OR_RETURN(batch, Update(id, [&](BatchRecord& record) {
                              if (record.status == BatchStatus::kInProgress)
                                record.status = BatchStatus::kFinalizing;
                              if (record.finalizing_s == 0) record.finalizing_s = NowSeconds();
                              return absl::OkStatus();
                            }));
  }
  const auto result = [&](const char* kind) {
    const int64_t now = NowSeconds();
    return FileRecord{.id = absl::StrCat("file-", RandomId(kIdLength)),
                      .owner = batch.owner,
                      .name = absl::StrCat(id, "_", kind, ".jsonl"),
                      .purpose = "batch_output",
                      .created_s = now,
                      .expires_s = now + options_.limits.keep_s};
  };
  FileRecord answers = result("output"), errors = result("error");
  const std::string answers_path = files_->PathOf(answers.id),
                    errors_path = files_->PathOf(errors.id);
  const auto parted = PartResults(JobPath(id), answers_path, errors_path);
  absl::Status ended = parted.status();
  if (parted.ok()) {
    answers.bytes = parted->answer_bytes;
    errors.bytes = parted->error_bytes;
    ended = Publish(id, status, *parted, answers, errors);
  }
  if (!ended.ok()) {  // the next try makes others
    unlink(answers_path.c_str());
    unlink(errors_path.c_str());
  }
  return ended;
}

absl::Status BatchQueue::Publish(const std::string& id, BatchStatus status,
                                 const PartedResults& parted, const FileRecord& answers,
                                 const FileRecord& errors) {
  std::vector<FileRecord> files;
  if (parted.answers > 0) files.push_back(answers);
  if (parted.errors > 0) files.push_back(errors);
  std::lock_guard lock(mutex_);
  return Update(
             id,
             [&](BatchRecord& record) {
               const int64_t now = NowSeconds();
               record.status = status;
               record.problem.clear();
               record.done = parted.answers + parted.errors;
               record.failed = parted.errors;
               if (parted.answers > 0) record.output_file = answers.id;
               if (parted.errors > 0) record.error_file = errors.id;
               if (status == BatchStatus::kCompleted) record.completed_s = now;
               if (status == BatchStatus::kExpired) record.expired_s = now;
               if (status == BatchStatus::kCancelled) record.cancelled_s = now;
               return absl::OkStatus();
             },
             files)
      .status();
}

}  // namespace tandem
