// The results of a batch's shards as one file, in the order of the input.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

struct MergedBatch {
  int64_t requests = 0, failed = 0;
};

// Outputs with their journals beside them; all shards of one batch, in any order. The output
// appears under its name when it is whole. Errors name the file: FAILED_PRECONDITION for shards
// that are unfinished, missing, there twice, or of different inputs, models or options; DATA_LOSS
// for results that are not what their journal says; ALREADY_EXISTS.
absl::StatusOr<MergedBatch> MergeShards(const std::vector<std::string>& outputs,
                                        const std::string& merged_path);

}  // namespace tandem
