#include "service/batch/batch_input_check.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/batch/job_file.h"
#include "service/batch/job_line.h"

namespace tandem {
namespace {

absl::StatusOr<BatchFault> FaultOf(const JobFile& file, const JobItem& item,
                                   const std::string& endpoint, const Limits& limits) {
  if (item.too_long) {
    return BatchFault{"line_too_long",
                      absl::StrCat("the line is longer than ", limits.max_message_bytes, " bytes"),
                      item.line};
  }
  TANDEM_ASSIGN_OR_RETURN(const std::string text, file.Read(item));
  const JobLine line = ParseJobLine(text, limits, endpoint);
  if (!line.error.ok())
    return BatchFault{"invalid_line", std::string(line.error.message()), item.line};
  return BatchFault{"duplicate_custom_id",
                    absl::StrCat("custom_id is that of line ", item.duplicate_of,
                                 "; expected another for each request"),
                    item.line};
}

}  // namespace

absl::StatusOr<CheckedInput> CheckBatchInput(const std::string& path, const std::string& endpoint,
                                             const Limits& limits, int64_t max_requests) {
  auto file = JobFile::Scan({path, Shard(), endpoint}, limits);
  if (absl::IsInvalidArgument(file.status()))
    return CheckedInput{0, {{"empty_file", "the file holds no request", 0}}};
  if (!file.ok()) return file.status();
  CheckedInput checked = {.requests = file->all_items()};
  if (checked.requests > max_requests) {
    checked.faults.push_back({"too_many_requests",
                              absl::StrCat("the file holds ", checked.requests,
                                           " requests; expected at most ", max_requests),
                              0});
  }
  for (const JobItem& item : file->items()) {
    if (checked.faults.size() >= kMaxFaults) break;
    if (!item.malformed && !item.too_long && item.duplicate_of == 0) continue;
    TANDEM_ASSIGN_OR_RETURN(BatchFault fault, FaultOf(*file, item, endpoint, limits));
    checked.faults.push_back(std::move(fault));
  }
  return checked;
}

}  // namespace tandem
