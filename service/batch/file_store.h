// Files that clients have uploaded, and results: records in the database, contents in a folder,
// each under its id. Names that clients give are never part of a path. Another key's file is not
// found. Thread-safe; calls wait for the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "service/batch/batch_database.h"
#include "service/batch/batch_records.h"
#include "service/http/exchange.h"
#include "service/limits.h"

namespace tandem {

struct NewFile {
  std::string owner;
  std::string name;
  std::string purpose = "batch";  // the only one that clients may give
  int64_t expires_after_s = 0;    // 0, or more than BatchLimits::keep_s: that
};

// A file on its way. What has not been finished leaves nothing behind.
class Upload {
 public:
  virtual ~Upload() = default;
  // RESOURCE_EXHAUSTED or OUT_OF_RANGE naming the limit; RESOURCE_EXHAUSTED for a full disk.
  virtual absl::Status Append(std::string_view bytes) = 0;
  // On the disk, and to be found. Once.
  virtual absl::StatusOr<FileRecord> Finish() = 0;
};

class FileStore {
 public:
  // `database` outlives it. `folder` exists. Contents that no record knows are removed.
  FileStore(BatchDatabase& database, std::string folder, const BatchLimits& limits);

  // INVALID_ARGUMENT naming the field.
  absl::StatusOr<std::unique_ptr<Upload>> Begin(const NewFile& file);
  absl::StatusOr<FileRecord> Add(const NewFile& file, std::string_view content);
  absl::StatusOr<FileRecord> Find(const std::string& owner, const std::string& id);  // NOT_FOUND
  absl::StatusOr<Page<FileRecord>> List(const std::string& owner, const std::string& purpose,
                                        const PageArgs& page);
  // NOT_FOUND; FAILED_PRECONDITION for the input of a batch that has not ended.
  absl::Status Delete(const std::string& owner, const std::string& id);
  absl::StatusOr<std::shared_ptr<BodyPieces>> Content(const std::string& owner,
                                                      const std::string& id);
  absl::Status RemoveExpired(int64_t now_s);

  std::string PathOf(const std::string& id) const;
  const BatchLimits& limits() const { return limits_; }

 private:
  absl::Status Remove(const std::string& id);
  void RemoveStrangers();

  BatchDatabase& database_;
  const std::string folder_;
  const BatchLimits limits_;
};

}  // namespace tandem
