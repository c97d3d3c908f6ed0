// What callers ask of the queue; batch_clerk.cpp decides what runs, batch_work.cpp runs it.
#include "service/batch/batch_queue.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/log.h"
#include "service/api/random_id.h"
#include "service/batch/job_line.h"
#include "service/batch/journal.h"
#include "service/http/http_error.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;

constexpr char kAllPaused[] = "paused";  // the database's flag
constexpr int kIdLength = 24;
constexpr size_t kMaxPairs = 16, kMaxPairNameBytes = 64, kMaxPairBytes = 512;  // of metadata
constexpr auto kPausePatience = 10min;  // of requests in flight

std::string Shown(const std::string& text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text.substr(0, 64)), "\"");
}

absl::Status NotKept(const std::string& id) {
  return absl::NotFoundError(absl::StrCat("no batch of the id ", Shown(id), " is kept here"));
}

// Null, or a few texts with names.
bool IsMetadata(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_null()) return true;
  if (!json.is_object() || json.size() > kMaxPairs) return false;
  return std::ranges::all_of(json.items(), [](const auto& pair) {
    return pair.key().size() <= kMaxPairNameBytes && pair.value().is_string() &&
           pair.value().template get_ref<const std::string&>().size() <= kMaxPairBytes;
  });
}

absl::Status CheckNew(const NewBatch& batch, const BatchLimits& limits) {
  const auto urls = BatchUrls();
  if (std::ranges::find(urls, batch.endpoint) == urls.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "endpoint is ", Shown(batch.endpoint), "; expected one of ", absl::StrJoin(urls, ", ")));
  }
  if (batch.window_s < 1 || batch.window_s > limits.max_window_s) {
    return absl::InvalidArgumentError(absl::StrCat("completion_window is ", batch.window_s,
                                                   " s; expected 1 to ", limits.max_window_s));
  }
  if (!IsMetadata(batch.metadata)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metadata is something else; expected at most ", kMaxPairs, " texts of at most ",
        kMaxPairBytes, " bytes, with names of at most ", kMaxPairNameBytes));
  }
  return absl::OkStatus();
}

absl::Status MakeFolder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot make the folder ", folder));
  }
  return absl::OkStatus();
}

}  // namespace

BatchQueue::BatchQueue(const ServiceContext& service, const BatchQueueOptions& options)
    : service_(service), options_(options) {}

absl::StatusOr<std::unique_ptr<BatchQueue>> BatchQueue::Open(const ServiceContext& service,
                                                             const BatchQueueOptions& options) {
  auto queue = std::unique_ptr<BatchQueue>(new BatchQueue(service, options));
  TANDEM_RETURN_IF_ERROR(queue->OpenFolder());
  queue->clerk_ = std::thread([queue = queue.get()] { queue->Clerk(); });
  return queue;
}

absl::Status BatchQueue::OpenFolder() {
  const std::string& folder = options_.folder;
  for (const char* sub : {"", "/files", "/jobs"})
    TANDEM_RETURN_IF_ERROR(MakeFolder(absl::StrCat(folder, sub)));
  // Prompts and answers are in it.
  std::error_code error;
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  TANDEM_ASSIGN_OR_RETURN(database_, BatchDatabase::Open(absl::StrCat(folder, "/batches.db")));
  files_ = std::make_unique<FileStore>(*database_, absl::StrCat(folder, "/files"), options_.limits);
  RemoveStrangers();
  TANDEM_ASSIGN_OR_RETURN(all_paused_, database_->Flag(kAllPaused));
  if (all_paused_) service_.engine.PauseBatch(true);
  return absl::OkStatus();
}

BatchQueue::~BatchQueue() {
  Stop(0ms);
  Join();
}

void BatchQueue::Stop(std::chrono::milliseconds patience) {
  std::lock_guard lock(mutex_);
  closing_ = true;
  for (const auto& [id, slot] : slots_) slot->Stop(patience);
  changed_.notify_all();
}

void BatchQueue::Join() {
  if (clerk_.joinable()) clerk_.join();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return slots_.empty(); });
  JoinFinished(lock);
}

std::string BatchQueue::JobPath(const std::string& id) const {
  return absl::StrCat(options_.folder, "/jobs/", id, ".jsonl");
}

void BatchQueue::RemoveJobFiles(const std::string& id) const {
  const std::string results = JobPath(id), journal = JournalPath(results);
  std::error_code error;
  for (const std::string& path : {results, journal, journal + "-wal", journal + "-shm"})
    std::filesystem::remove(path, error);
}

// Jobs of batches that were removed while the server was killed.
void BatchQueue::RemoveStrangers() {
  std::set<std::string> ids;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(absl::StrCat(options_.folder, "/jobs"), error)) {
    const std::string name = entry.path().filename().string();
    ids.insert(name.substr(0, name.find('.')));
  }
  for (const std::string& id : ids) {
    const auto known = database_->FindBatch(id);
    if (known.ok() && !*known) RemoveJobFiles(id);
  }
}

absl::StatusOr<BatchRecord> BatchQueue::FindFor(const Caller& caller, const std::string& id) {
  TANDEM_ASSIGN_OR_RETURN(auto record, database_->FindBatch(id));
  if (!record || (record->owner != caller.name && !caller.admin)) return NotKept(id);
  return *std::move(record);
}

BatchView BatchQueue::ViewOf(BatchRecord record) const {
  BatchView view = {.record = std::move(record)};
  if (HasEnded(view.record.status)) return view;
  const auto slot = slots_.find(view.record.id);
  view.running = slot != slots_.end();
  if (view.running && slot->second->job() != nullptr) {
    const BatchProgress progress = slot->second->job()->progress();
    view.record.total = progress.requests;
    view.record.done = progress.done;
    view.record.failed = progress.failed;
    view.in_flight = progress.in_flight;
    view.left_s = progress.left_s;
  }
  if (!OwnerIsKnown(view.record.owner)) {
    view.record.problem = "its key is none of this server's any more";
  } else if (all_paused_) {
    view.record.problem = "all batches are paused";
  }
  return view;
}

absl::StatusOr<BatchRecord> BatchQueue::Update(const std::string& id, const Change& change,
                                               const std::vector<FileRecord>& results) {
  TANDEM_ASSIGN_OR_RETURN(auto record, database_->FindBatch(id));
  if (!record) return NotKept(id);
  TANDEM_RETURN_IF_ERROR(change(*record));
  TANDEM_RETURN_IF_ERROR(database_->UpdateBatch(*record, results));
  changed_by_caller_ = true;
  changed_.notify_all();
  return *std::move(record);
}

absl::StatusOr<BatchView> BatchQueue::Create(const Caller& caller, const NewBatch& batch) {
  TANDEM_RETURN_IF_ERROR(CheckNew(batch, options_.limits));
  const auto file = files_->Find(caller.name, batch.input_file);
  if (!file.ok() && !absl::IsNotFound(file.status())) return file.status();
  if (!file.ok() || file->purpose != "batch") {
    return absl::InvalidArgumentError(
        absl::StrCat("input_file_id is ", Shown(batch.input_file),
                     "; expected the id of a file that was uploaded for batches"));
  }
  BatchRecord record = {.id = absl::StrCat("batch_", RandomId(kIdLength)),
                        .owner = caller.name,
                        .endpoint = batch.endpoint,
                        .input_file = batch.input_file,
                        .window = batch.window,
                        .metadata = batch.metadata,
                        .created_s = NowSeconds()};
  record.expires_s = record.created_s + batch.window_s;
  std::lock_guard lock(mutex_);
  if (closing_) return absl::UnavailableError("the server is shutting down");
  TANDEM_RETURN_IF_ERROR(database_->AddBatch(record, options_.limits));
  changed_by_caller_ = true;
  changed_.notify_all();
  return ViewOf(std::move(record));
}

absl::StatusOr<BatchView> BatchQueue::Get(const Caller& caller, const std::string& id) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(BatchRecord record, FindFor(caller, id));
  return ViewOf(std::move(record));
}

absl::StatusOr<Page<BatchView>> BatchQueue::List(const Caller& caller, bool all,
                                                 const PageArgs& page) {
  std::lock_guard lock(mutex_);
  const auto owner = all ? std::nullopt : std::optional<std::string>(caller.name);
  TANDEM_ASSIGN_OR_RETURN(auto found, database_->ListBatches(owner, page));
  Page<BatchView> views = {.records = {}, .has_more = found.has_more};
  for (BatchRecord& record : found.records) views.records.push_back(ViewOf(std::move(record)));
  return views;
}

absl::StatusOr<BatchView> BatchQueue::Cancel(const Caller& caller, const std::string& id) {
  std::lock_guard lock(mutex_);
  TANDEM_RETURN_IF_ERROR(FindFor(caller, id).status());
  TANDEM_ASSIGN_OR_RETURN(
      BatchRecord record, Update(id, [](BatchRecord& batch) -> absl::Status {
        const int64_t now = NowSeconds();
        if (HasEnded(batch.status)) {
          return HttpError(409, absl::StrCat("the batch has ended: it is ", Name(batch.status)));
        }
        if (batch.cancelling_s == 0) batch.cancelling_s = now;
        if (batch.status == BatchStatus::kValidating) {
          batch.status = BatchStatus::kCancelled;
          batch.cancelled_s = now;
        } else if (batch.status == BatchStatus::kInProgress) {
          batch.status = BatchStatus::kCancelling;
        }
        return absl::OkStatus();
      }));
  return ViewOf(std::move(record));
}

absl::StatusOr<BatchView> BatchQueue::SetPaused(const Caller& caller, const std::string& id,
                                                bool paused) {
  std::lock_guard lock(mutex_);
  TANDEM_RETURN_IF_ERROR(FindFor(caller, id).status());
  TANDEM_ASSIGN_OR_RETURN(
      BatchRecord record, Update(id, [paused](BatchRecord& batch) -> absl::Status {
        if (HasEnded(batch.status)) {
          return HttpError(409, absl::StrCat("the batch has ended: it is ", Name(batch.status)));
        }
        batch.paused = paused;
        return absl::OkStatus();
      }));
  // Another batch may have its place meanwhile.
  if (const auto slot = slots_.find(id); paused && slot != slots_.end())
    slot->second->Stop(kPausePatience);
  return ViewOf(std::move(record));
}

absl::Status BatchQueue::SetAllPaused(bool paused) {
  std::lock_guard lock(mutex_);
  TANDEM_RETURN_IF_ERROR(database_->SetFlag(kAllPaused, paused));
  all_paused_ = paused;
  service_.engine.PauseBatch(paused);  // what is in flight is held at once, and goes on or runs out
  changed_by_caller_ = true;
  changed_.notify_all();
  if (!paused) return absl::OkStatus();
  for (const auto& [id, slot] : slots_)
    if (!slot->leaving()) slot->Stop(kPausePatience);
  return absl::OkStatus();
}

absl::Status BatchQueue::Delete(const Caller& caller, const std::string& id) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(const BatchRecord record, FindFor(caller, id));
  if (!HasEnded(record.status)) {
    return HttpError(409, absl::StrCat("the batch has not ended: it is ", Name(record.status),
                                       "; cancel it first"));
  }
  for (const std::string& file : {record.output_file, record.error_file}) {
    const absl::Status deleted =
        file.empty() ? absl::OkStatus() : files_->Delete(record.owner, file);
    if (!deleted.ok() && !absl::IsNotFound(deleted)) return deleted;
  }
  TANDEM_RETURN_IF_ERROR(database_->RemoveBatch(id));
  RemoveJobFiles(id);
  return absl::OkStatus();
}

absl::StatusOr<std::string> BatchQueue::ResultsPath(const Caller& caller, const std::string& id) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(const BatchRecord record, FindFor(caller, id));
  if (record.owner != caller.name) return NotKept(id);
  return JobPath(id);
}

BatchCounts BatchQueue::counts() const {
  std::lock_guard lock(mutex_);
  BatchCounts counts = {.running = std::ssize(slots_),
                        .waiting = waiting_,
                        .paused = paused_,
                        .done = done_,
                        .failed = failed_,
                        .all_paused = all_paused_};
  for (const auto& [id, slot] : slots_) {
    counts.done += slot->done();
    counts.failed += slot->failed();
  }
  return counts;
}

}  // namespace tandem
