// Results in the order of the input: from files in which they lie as they were finished.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/batch/journal.h"

namespace tandem {

struct ResultSource {
  const Journal* journal;
  std::string path;       // of the results
  bool in_order = false;  // they lie in the input's order, not where the journal noted them
};

// The items of all sources together, by item, into a file that appears under its name when it is
// whole. `see` is told of each; its error ends it. DATA_LOSS for a line that is not what was noted.
absl::Status CopyInOrder(const std::vector<ResultSource>& sources, const std::string& to,
                         const std::function<absl::Status(const DoneItem&)>& see);

}  // namespace tandem
