// The results of a batch as clients get them: two files, of answers and of errors, once it has
// ended; lines from any place on, at any time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

struct PartedResults {
  int64_t answers = 0, errors = 0;  // lines
  int64_t answer_bytes = 0, error_bytes = 0;
};

// By what the journal beside `results_path` says; of either kind of which there is none there is no
// file. REQUIRES: nobody works on the batch. Errors: as BatchJob::Open().
absl::StatusOr<PartedResults> PartResults(const std::string& results_path,
                                          const std::string& answers_path,
                                          const std::string& errors_path);

// Reads result lines as they were finished. The first `done` lines of a batch at work stay as they
// are (BatchProgress::done); those behind may still change.
class ResultReader {
 public:
  // A file that is not there yet has no lines.
  explicit ResultReader(std::string path) : path_(std::move(path)) {}
  ~ResultReader();
  ResultReader(const ResultReader&) = delete;
  ResultReader& operator=(const ResultReader&) = delete;

  int64_t line() const { return line_; }  // number of the next, from 0
  absl::Status SkipTo(int64_t line);      // not beyond the end
  // Whole lines with their line breaks, until they have `bytes` together, one at least; none beyond
  // number `end` and the file's end.
  absl::StatusOr<std::vector<std::string>> Read(int64_t end, int64_t bytes);

 private:
  absl::StatusOr<bool> ReadLine(std::string* line);  // null: skips it

  const std::string path_;
  int fd_ = -1;
  int64_t line_ = 0;
  int64_t offset_ = 0;  // in the file, of the block's end
  std::string block_;
  size_t taken_ = 0;  // of the block
};

}  // namespace tandem
