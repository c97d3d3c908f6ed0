#include "service/batch/batch_records.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace tandem {

// Keys on disk: DO NOT RENAME; what is missing has its default.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(FileRecord, id, owner, name, purpose, bytes,
                                                created_s, expires_s)
NLOHMANN_JSON_SERIALIZE_ENUM(BatchStatus, {{BatchStatus::kValidating, "validating"},
                                           {BatchStatus::kFailed, "failed"},
                                           {BatchStatus::kInProgress, "in_progress"},
                                           {BatchStatus::kFinalizing, "finalizing"},
                                           {BatchStatus::kCompleted, "completed"},
                                           {BatchStatus::kExpired, "expired"},
                                           {BatchStatus::kCancelling, "cancelling"},
                                           {BatchStatus::kCancelled, "cancelled"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(BatchFault, code, message, line)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(BatchRecord, id, owner, status, paused, endpoint,
                                                input_file, window, metadata, output_file,
                                                error_file, faults, problem, total, done, failed,
                                                created_s, expires_s, in_progress_s, finalizing_s,
                                                completed_s, failed_s, expired_s, cancelling_s,
                                                cancelled_s)

namespace {

template <class Record>
std::string Text(const Record& record) {
  return nlohmann::json(record).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

template <class Record>
absl::StatusOr<Record> FromText(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  try {
    if (json.is_object()) return json.get<Record>();
  } catch (const nlohmann::json::exception&) {  // a field of another type
  }
  return absl::DataLossError("a record of the batch folder is damaged");
}

}  // namespace

const char* Name(BatchStatus status) {
  switch (status) {
    case BatchStatus::kValidating:
      return "validating";
    case BatchStatus::kFailed:
      return "failed";
    case BatchStatus::kInProgress:
      return "in_progress";
    case BatchStatus::kFinalizing:
      return "finalizing";
    case BatchStatus::kCompleted:
      return "completed";
    case BatchStatus::kExpired:
      return "expired";
    case BatchStatus::kCancelling:
      return "cancelling";
    case BatchStatus::kCancelled:
      return "cancelled";
  }
  return "";
}

bool HasEnded(BatchStatus status) {
  return status == BatchStatus::kFailed || status == BatchStatus::kCompleted ||
         status == BatchStatus::kExpired || status == BatchStatus::kCancelled;
}

int64_t BatchRecord::ended_s() const {
  return std::max({completed_s, failed_s, expired_s, cancelled_s});
}

std::string ToText(const FileRecord& record) { return Text(record); }
std::string ToText(const BatchRecord& record) { return Text(record); }
absl::StatusOr<FileRecord> FileFromText(const std::string& text) {
  return FromText<FileRecord>(text);
}
absl::StatusOr<BatchRecord> BatchFromText(const std::string& text) {
  return FromText<BatchRecord>(text);
}

int64_t NowSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace tandem
