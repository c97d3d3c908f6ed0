// A server's batches: takes them in, runs some at a time, and keeps all of it in a folder, so that
// a server that was stopped or killed goes on with them when it is started again.
//
//   FOLDER/batches.db      the records (batch_database.h)
//   FOLDER/files/ID        inputs and results (file_store.h)
//   FOLDER/jobs/ID.jsonl   a batch at work: its results so far, and their journal (batch_job.h)
//
// validating -> in_progress -> finalizing -> completed | expired
//      |             \-> cancelling -> cancelled
//      \-> failed | cancelled
//
// Keys take turns: the oldest batch of the key that was served least recently goes next. A thread,
// the clerk, decides; each batch at work has one of its own. Thread-safe; calls wait for the disk,
// so they belong on disk().
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/status.h"
#include "service/access/caller.h"
#include "service/api/chat_run.h"
#include "service/batch/batch_database.h"
#include "service/batch/batch_job.h"
#include "service/batch/batch_records.h"
#include "service/batch/batch_results.h"
#include "service/batch/batch_slot.h"
#include "service/batch/file_store.h"
#include "service/limits.h"
#include "service/work_queue.h"

namespace tandem {

struct BatchQueueOptions {
  std::string folder;  // made if it is not there
  BatchLimits limits;
  int32_t max_in_flight = 72;  // BatchOptions, of each batch at work
  std::string answered_by;     // BatchOptions; for ServerOptions: what it says besides the model
};

struct NewBatch {
  std::string input_file;         // an id
  std::string endpoint;           // one of BatchUrls()
  int64_t window_s = 86400;       // then what is not done expires
  std::string window = "24h";     // as the client wrote it
  std::string metadata = "null";  // JSON: an object of texts
};

// A batch as it is now.
struct BatchView {
  BatchRecord record;  // counts of a batch at work: live
  bool running = false;
  int32_t in_flight = 0;
  double left_s = -1;  // estimate; negative: not known
};

class BatchQueue {
 public:
  // `service` outlives it. Errors: those of the folder and BatchDatabase::Open().
  static absl::StatusOr<std::unique_ptr<BatchQueue>> Open(const ServiceContext& service,
                                                          const BatchQueueOptions& options);
  ~BatchQueue();  // Stop(0), Join()

  FileStore& files() { return *files_; }
  WorkQueue& disk() { return disk_; }

  // INVALID_ARGUMENT naming the field, also for a file that is not there; RESOURCE_EXHAUSTED.
  absl::StatusOr<BatchView> Create(const Caller& caller, const NewBatch& batch);
  // Of another's batch, unless the caller is an admin, and of none: NOT_FOUND.
  absl::StatusOr<BatchView> Get(const Caller& caller, const std::string& id);
  // `all`: everybody's; REQUIRES: an admin.
  absl::StatusOr<Page<BatchView>> List(const Caller& caller, bool all, const PageArgs& page);
  // FAILED_PRECONDITION: it has ended (Delete: it has not).
  absl::StatusOr<BatchView> Cancel(const Caller& caller, const std::string& id);
  absl::StatusOr<BatchView> SetPaused(const Caller& caller, const std::string& id, bool paused);
  absl::Status Delete(const Caller& caller, const std::string& id);  // with its result files
  // Its results so far, as they were finished; the caller's own only.
  absl::StatusOr<std::string> ResultsPath(const Caller& caller, const std::string& id);

  // All batch work, also after a restart; also requests of that priority that came otherwise.
  absl::Status SetAllPaused(bool paused);
  BatchCounts counts() const;

  // Nothing begins any more; requests in flight get `patience`. Returns at once.
  void Stop(std::chrono::milliseconds patience);
  void Join();  // until nothing is at work. REQUIRES: Stop()

 private:
  using Clock = std::chrono::steady_clock;
  using Change = std::function<absl::Status(BatchRecord&)>;

  BatchQueue(const ServiceContext& service, const BatchQueueOptions& options);
  absl::Status OpenFolder();

  // batch_queue.cpp
  absl::StatusOr<BatchRecord> FindFor(const Caller& caller, const std::string& id);
  BatchView ViewOf(BatchRecord record) const;  // REQUIRES: mutex_ is held
  // Reads a record, lets it be changed, and writes it. REQUIRES: mutex_ is held.
  absl::StatusOr<BatchRecord> Update(const std::string& id, const Change& change,
                                     const std::vector<FileRecord>& results = {});
  std::string JobPath(const std::string& id) const;
  void RemoveJobFiles(const std::string& id) const;
  void RemoveStrangers();

  // batch_clerk.cpp: the clerk's thread. REQUIRE: mutex_ is held; those with `lock` let it go
  // meanwhile.
  void Clerk();
  void JoinFinished(std::unique_lock<std::mutex>& lock);
  absl::Status ValidateAll(std::unique_lock<std::mutex>& lock);
  absl::Status Refuse(const std::string& id, const std::vector<BatchFault>& faults);
  absl::Status LookAround();
  bool MayTry(const BatchRecord& batch) const;
  bool OwnerIsKnown(const std::string& owner) const;
  int32_t RunningOf(const std::string& owner) const;
  const BatchRecord* ChooseNext(const std::vector<BatchRecord>& open) const;
  void MakeRoomFor(const std::string& owner);
  void Begin(const BatchRecord& batch);
  absl::Status Sweep();

  // batch_work.cpp: a batch's thread
  BatchOptions JobOptions(const BatchRecord& batch) const;
  void Work(const std::shared_ptr<BatchSlot>& slot);
  absl::Status RunJob(BatchSlot& slot);
  absl::Status Settle(const std::string& id, const BatchProgress& progress);
  absl::Status SettleUnopened(const BatchRecord& batch, const absl::Status& error);
  absl::Status FailFor(const std::string& id, const absl::Status& error);
  absl::Status End(const std::string& id, BatchStatus status);
  absl::Status Publish(const std::string& id, BatchStatus status, const PartedResults& parted,
                       const FileRecord& answers, const FileRecord& errors);

  const ServiceContext& service_;
  const BatchQueueOptions options_;
  std::unique_ptr<BatchDatabase> database_;
  std::unique_ptr<FileStore> files_;

  mutable std::mutex mutex_;  // before the database's
  std::condition_variable changed_;
  bool closing_ = false, all_paused_ = false;
  bool changed_by_caller_ = false;                           // the clerk has something to look at
  std::map<std::string, std::shared_ptr<BatchSlot>> slots_;  // at work, by id
  std::vector<std::shared_ptr<BatchSlot>> finished_;         // whose threads are to be joined
  std::map<std::string, Clock::time_point> not_before_;      // of batches that could not go on
  std::map<std::string, int64_t> turns_;                     // when an owner was last served
  int64_t turn_ = 0;
  int64_t waiting_ = 0, paused_ = 0;  // as the clerk last saw
  int64_t done_ = 0, failed_ = 0;     // of batches that are not at work any more
  Clock::time_point next_sweep_{};
  std::thread clerk_;
  WorkQueue disk_{2};  // last, so that its tasks end before what they use
};

}  // namespace tandem
