// What of a batch's input is checked before anything of it is run: that each line is a request, to
// the batch's endpoint, and no custom_id comes twice. What the requests ask for is looked at when
// their turn comes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/batch/batch_records.h"
#include "service/limits.h"

namespace tandem {

inline constexpr size_t kMaxFaults = 100;  // that are told

struct CheckedInput {
  int64_t requests = 0;
  std::vector<BatchFault> faults;
};

// `path` is not told. Errors: those of the disk.
absl::StatusOr<CheckedInput> CheckBatchInput(const std::string& path, const std::string& endpoint,
                                             const Limits& limits, int64_t max_requests);

}  // namespace tandem
