#include "core/sharded_layout.h"

#include "core/status.h"

namespace tandem {

std::vector<int64_t> ShardColumns(int64_t intermediate, int n) {
  TANDEM_CHECK(intermediate > 0 && intermediate % kShardUnit == 0, "columns come in units of 32");
  TANDEM_CHECK(n >= 1 && n <= MaxShards(intermediate), "every shard gets a unit of columns");
  const int64_t units = intermediate / kShardUnit;
  std::vector<int64_t> columns = {0};
  for (int s = 0; s < n; ++s)
    columns.push_back(columns.back() + (units / n + (s < units % n ? 1 : 0)) * kShardUnit);
  return columns;
}

ShardedLayout::ShardedLayout(int64_t hidden, int64_t intermediate, int n)
    : columns_(ShardColumns(intermediate, n)), offsets_{0} {
  for (int s = 0; s < n; ++s) {
    layouts_.push_back({hidden, columns_[s + 1] - columns_[s]});
    const int64_t blocks =
        (layouts_.back().bytes() + kShardBlockAlignment - 1) / kShardBlockAlignment;
    offsets_.push_back(offsets_.back() + blocks * kShardBlockAlignment);
  }
}

}  // namespace tandem
