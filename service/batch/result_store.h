// A batch's output and its journal, as one: results that are in it are there for good, each once.
//
// As finished: results go to the output itself. Ordered: to OUTPUT.unordered, until all are there.
// Of one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/batch/journal.h"
#include "service/batch/result_line.h"

namespace tandem {

struct Result {
  int64_t item = 0;  // JobItem::index
  ResultLine line;
};

class ResultStore {
 public:
  // Makes both, or takes up what is there: every result noted is read and compared, what lies
  // behind them is cut off. Errors: as BatchJob::Open().
  static absl::StatusOr<std::unique_ptr<ResultStore>> Open(const std::string& output_path,
                                                           const JobIdentity& identity);
  ~ResultStore();

  // As it was found.
  bool was_finished() const { return was_finished_; }
  const std::vector<int64_t>& done_items() const { return done_items_; }
  const std::map<std::string, int64_t>& done_by_code() const { return done_by_code_; }

  // All of them on the disk and noted when this returns. After an error no more is accepted.
  absl::Status Append(std::span<const Result> results);
  // Puts the output where it belongs. REQUIRES: all items of this shard are there.
  absl::Status Finish();

 private:
  ResultStore() = default;
  absl::Status TakeUp();
  absl::Status CheckResults();
  absl::Status Count(const DoneItem& item);

  std::string output_path_, results_path_;
  std::unique_ptr<Journal> journal_;
  int fd_ = -1;
  int64_t end_ = 0;  // of what is noted
  bool was_finished_ = false;
  std::vector<int64_t> done_items_;
  std::map<std::string, int64_t> done_by_code_;
};

}  // namespace tandem
