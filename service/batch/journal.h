// What of a batch is done, and where in the output its results lie: an SQLite file beside it.
//
// Results are brought to the disk first, then noted here. So what is noted is there; what lies in
// the output behind the last noted result is not, and is cut off by whoever goes on. Whoever has
// the journal open has it alone, until the process ends.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/status.h"
#include "service/batch/shard.h"

struct sqlite3;

namespace tandem {

class Statement;

// What a job is, so that it is not continued as another one.
struct JobIdentity {
  std::string input_fingerprint;
  int64_t input_bytes = 0;
  int64_t all_items = 0;  // of all shards
  Shard shard;
  bool ordered = false;
  std::string endpoint, model, answered_by;  // BatchOptions
};

struct DoneItem {
  int64_t item = 0;               // JobItem::index
  int64_t offset = 0, bytes = 0;  // of its line in the results, line break included
  uint64_t checksum = 0;          // XXH3 of that line
  std::string code;               // of its error; "" if it has none
};

// Of one thread at a time.
class Journal {
 public:
  // Continues the one that is there, or begins one. Errors: as BatchJob::Open().
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path,
                                                       const JobIdentity& identity);
  // An existing one, to read.
  static absl::StatusOr<std::unique_ptr<Journal>> OpenExisting(const std::string& path);
  ~Journal();

  const JobIdentity& identity() const { return identity_; }
  bool is_new() const { return is_new_; }

  // All or none of them, once this returns. RESOURCE_EXHAUSTED: the disk is full.
  absl::Status Add(std::span<const DoneItem> done);
  // Every item is done, and the output is where it belongs.
  absl::Status SetFinished();
  absl::StatusOr<bool> finished() const;

  enum class By { kItem, kOffset };  // offset: where they lie
  // The done ones, one after another. The journal outlives it, and is not written meanwhile.
  class Cursor {
   public:
    Cursor(const Journal& journal, By order);
    ~Cursor();
    absl::StatusOr<std::optional<DoneItem>> Next();  // nullopt: that was the last

   private:
    const std::string path_;
    const std::unique_ptr<Statement> rows_;
  };
  // An error of `see` ends it.
  absl::Status ForEach(By order, const std::function<absl::Status(const DoneItem&)>& see) const;

 private:
  Journal() = default;
  absl::Status Connect(const std::string& path, bool create);
  absl::Status Begin(const JobIdentity& identity);
  absl::Status Insert(std::span<const DoneItem> done);
  absl::Status ReadIdentity();

  std::string path_;
  sqlite3* db_ = nullptr;
  JobIdentity identity_;
  bool is_new_ = false;
};

std::string JournalPath(const std::string& output_path);

}  // namespace tandem
