// A batch's input: where its requests lie, and what is needed to choose their order. Texts are read
// again when their turn comes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/batch/shard.h"
#include "service/limits.h"

namespace tandem {

struct JobItem {
  int64_t index = 0;  // among all requests of the file, from 0; blank lines do not count
  int64_t offset = 0;
  int64_t line = 0;  // in the file, from 1
  uint64_t hash = 0;
  uint32_t bytes = 0;         // without the line's end
  uint32_t duplicate_of = 0;  // the line that has the same custom_id, if an earlier one has
  uint32_t prompt_bytes = 0;
  uint32_t max_tokens = 0;  // most tokens of all answers together; 0: not said
  // Hashes of the prompt's first 256, 1024, 4096, 16384 bytes (of all of it, if it is shorter):
  // equal ones begin alike. Malformed lines: 0.
  std::array<uint32_t, 4> prefix{};
  bool malformed = false;
  bool too_long = false;  // only its first bytes were looked at
};

struct JobFileOptions {
  std::string path;
  Shard shard;
  std::string endpoint;  // as in job_line.h
};

// Movable. Read() from any thread.
class JobFile {
 public:
  // Reads it once. Lines are at most limits.max_message_bytes long; a longer one is an item
  // nevertheless. Errors name the file; INVALID_ARGUMENT if there is no request.
  static absl::StatusOr<JobFile> Scan(const JobFileOptions& options, const Limits& limits);
  JobFile(JobFile&& other) noexcept;
  JobFile& operator=(JobFile&& other) noexcept;
  ~JobFile();

  // In the file's order; this shard's. Their text may be dropped by the caller at will.
  const std::vector<JobItem>& items() const { return items_; }
  int64_t all_items() const { return all_items_; }  // of all shards
  int64_t bytes() const { return bytes_; }
  const std::string& fingerprint() const { return fingerprint_; }  // of all its bytes, in hex

  // FAILED_PRECONDITION if the file has changed since.
  absl::StatusOr<std::string> Read(const JobItem& item) const;

 private:
  JobFile() = default;

  std::string path_;
  int fd_ = -1;
  std::vector<JobItem> items_;
  int64_t all_items_ = 0, bytes_ = 0;
  std::string fingerprint_;
};

}  // namespace tandem
