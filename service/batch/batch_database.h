// The records of a server's files and batches, in an SQLite file. What it says has been done
// survives a power cut. Thread-safe; one process at a time has the file.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/status.h"
#include "service/batch/batch_records.h"
#include "service/limits.h"

struct sqlite3;

namespace tandem {

class Statement;

// Part of a list, the latest first unless `ascending`.
struct PageArgs {
  std::string after;  // an id: what follows it; "": the beginning
  int64_t limit = 20;
  bool ascending = false;
};

template <class Record>
struct Page {
  std::vector<Record> records;
  bool has_more = false;
};

class BatchDatabase {
 public:
  // Makes it if it is not there. Errors: ABORTED if another process has it; PERMISSION_DENIED,
  // DATA_LOSS, RESOURCE_EXHAUSTED, FAILED_PRECONDITION for one of another version.
  static absl::StatusOr<std::unique_ptr<BatchDatabase>> Open(const std::string& path);
  ~BatchDatabase();

  // A file on its way: counts, but is not found. Again with more bytes: the same file, grown.
  // Errors: RESOURCE_EXHAUSTED naming the limit.
  absl::Status ReserveFile(const FileRecord& file, const BatchLimits& limits);
  absl::Status SetReady(const FileRecord& file);
  absl::StatusOr<std::optional<FileRecord>> FindFile(const std::string& id);
  // `purpose` "": all. INVALID_ARGUMENT: `after` is not in the list.
  absl::StatusOr<Page<FileRecord>> ListFiles(const std::string& owner, const std::string& purpose,
                                             const PageArgs& page);
  absl::Status RemoveFile(const std::string& id);
  absl::Status RemoveUnready();  // at start: what was on its way then
  // Those that are over, and no input of a batch that has not ended.
  absl::StatusOr<std::vector<FileRecord>> ExpiredFiles(int64_t now_s);
  absl::StatusOr<std::optional<std::string>> OpenBatchOfFile(const std::string& file);  // its id

  // RESOURCE_EXHAUSTED: the owner has too many.
  absl::Status AddBatch(const BatchRecord& batch, const BatchLimits& limits);
  // With it, files that are its results: all or nothing.
  absl::Status UpdateBatch(const BatchRecord& batch, const std::vector<FileRecord>& results = {});
  absl::StatusOr<std::optional<BatchRecord>> FindBatch(const std::string& id);
  // `owner` nullopt: everybody's.
  absl::StatusOr<Page<BatchRecord>> ListBatches(const std::optional<std::string>& owner,
                                                const PageArgs& page);
  absl::StatusOr<std::vector<BatchRecord>> OpenBatches();  // that have not ended, the oldest first
  absl::StatusOr<std::vector<BatchRecord>> BatchesEndedBefore(int64_t time_s);
  absl::Status RemoveBatch(const std::string& id);

  // Small settings that outlive the server.
  absl::StatusOr<bool> Flag(const std::string& name);
  absl::Status SetFlag(const std::string& name, bool value);

 private:
  using Value = std::variant<int64_t, std::string>;
  using Values = std::vector<Value>;
  using See = std::function<absl::Status(const Statement& row)>;

  BatchDatabase() = default;
  absl::Status Connect(const std::string& path);
  // All below REQUIRE: mutex_ is held.
  absl::Status Do(const std::string& sql, const Values& values, const See& see = nullptr);
  absl::StatusOr<std::vector<std::string>> Texts(const std::string& sql, const Values& values);
  absl::StatusOr<int64_t> Number(const std::string& sql, const Values& values);  // 0: no row
  absl::Status Atomically(const std::function<absl::Status()>& work);
  absl::Status PutFile(const FileRecord& file, bool ready);
  absl::Status CheckRoom(const FileRecord& file, const BatchLimits& limits);
  absl::StatusOr<std::vector<std::string>> ListTexts(const std::string& table,
                                                     const std::string& where, Values values,
                                                     const PageArgs& page);

  std::mutex mutex_;
  std::string path_;
  sqlite3* db_ = nullptr;
};

}  // namespace tandem
