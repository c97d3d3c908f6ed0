#include "placement/profile_windows.h"

#include <utility>

namespace tandem {

void MergeNeighbours(std::vector<ProfileWindow>& windows) {
  size_t kept = 0;
  for (size_t i = 0; i < windows.size(); i += 2, ++kept) {
    ProfileWindow merged = std::move(windows[i]);
    if (i + 1 < windows.size()) {
      merged.tokens += windows[i + 1].tokens;
      for (size_t cell = 0; cell < merged.hits.size(); ++cell)
        merged.hits[cell] += windows[i + 1].hits[cell];
    }
    windows[kept] = std::move(merged);
  }
  windows.resize(kept);
}

}  // namespace tandem
