// What a server knows of a file and of a batch; and as JSON text, as they are kept on the disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

struct FileRecord {
  std::string id, owner;  // owner: the key's name
  std::string name;       // as the client calls it
  std::string purpose;    // "batch", "batch_output"
  int64_t bytes = 0;
  int64_t created_s = 0, expires_s = 0;  // Unix time; then it is removed
};

// On disk, by name: DO NOT RENAME.
enum class BatchStatus {
  kValidating,
  kFailed,
  kInProgress,
  kFinalizing,
  kCompleted,
  kExpired,
  kCancelling,
  kCancelled,
};
const char* Name(BatchStatus status);  // "in_progress"
bool HasEnded(BatchStatus status);

// Why a batch failed, or a line of its input is none.
struct BatchFault {
  std::string code, message;
  int64_t line = 0;  // of the input; 0: none
};

struct BatchRecord {
  std::string id, owner;
  BatchStatus status = BatchStatus::kValidating;
  bool paused = false;
  std::string endpoint, input_file;
  std::string window;                   // completion_window, as the client wrote it
  std::string metadata = "null";        // JSON: an object of texts
  std::string output_file, error_file;  // "": none
  std::vector<BatchFault> faults;
  std::string problem;                      // why it does not go on; "" if nothing keeps it
  int64_t total = 0, done = 0, failed = 0;  // requests; failed ones are done, too
  // Unix time; 0: not yet.
  int64_t created_s = 0, expires_s = 0, in_progress_s = 0, finalizing_s = 0, completed_s = 0,
          failed_s = 0, expired_s = 0, cancelling_s = 0, cancelled_s = 0;

  int64_t ended_s() const;  // 0: not yet
};

// Of a whole server, for those who watch it.
struct BatchCounts {
  int64_t running = 0, waiting = 0, paused = 0;  // batches that have not ended
  int64_t done = 0, failed = 0;  // requests since the server's start; failed ones are done, too
  bool all_paused = false;
};

std::string ToText(const FileRecord& record);
std::string ToText(const BatchRecord& record);
// DATA_LOSS.
absl::StatusOr<FileRecord> FileFromText(const std::string& text);
absl::StatusOr<BatchRecord> BatchFromText(const std::string& text);

int64_t NowSeconds();  // Unix time

}  // namespace tandem
