// An expert cut along its intermediate dimension: what each NUMA node, or each part of a packed
// image, holds.
//
// Shard s has intermediate columns [begin(s), begin(s + 1)), cut in units of 32 as evenly as
// possible, larger shards first. It is a little expert of its own in panel16g32: gate and up rows
// of these columns, and of every down row the inputs of these columns. The shards of one expert lie
// one after the other, each from a multiple of 4 KiB and with zeros behind its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/panel16g32.h"

namespace tandem {

constexpr int64_t kShardUnit = 32;              // columns: one group of down's inputs
constexpr int64_t kShardBlockAlignment = 4096;  // what unbuffered reading of a file asks for

// Most shards that an expert of this width can be cut into, at least 1.
constexpr int MaxShards(int64_t intermediate) {
  return intermediate < kShardUnit ? 1 : static_cast<int>(intermediate / kShardUnit);
}

// The cuts: n + 1 columns, from 0 to `intermediate`. REQUIRES: 1 <= n <= MaxShards(intermediate),
// intermediate a multiple of 32.
std::vector<int64_t> ShardColumns(int64_t intermediate, int n);

// Where everything lies in an expert of n shards.
class ShardedLayout {
 public:
  ShardedLayout() = default;
  ShardedLayout(int64_t hidden, int64_t intermediate, int n);

  int n_shards() const { return static_cast<int>(layouts_.size()); }
  int64_t hidden() const { return layouts_[0].hidden; }
  int64_t intermediate() const { return columns_.back(); }
  int64_t begin(int shard) const { return columns_[shard]; }
  const ExpertLayout& layout(int shard) const { return layouts_[shard]; }

  // From the start of the expert to the start of a shard; of n_shards(), the bytes of the expert.
  int64_t offset(int shard) const { return offsets_[shard]; }
  // Of one shard, with the zeros behind it.
  int64_t block_bytes(int shard) const { return offsets_[shard + 1] - offsets_[shard]; }
  int64_t expert_bytes() const { return offsets_.back(); }

  bool operator==(const ShardedLayout& other) const {
    return hidden() == other.hidden() && columns_ == other.columns_;
  }

 private:
  std::vector<int64_t> columns_;  // [n_shards + 1]
  std::vector<int64_t> offsets_;  // [n_shards + 1]
  std::vector<ExpertLayout> layouts_;
};

// The bytes of one expert: a span per shard, each block_bytes() long.
using ExpertShards = std::vector<std::span<const std::byte>>;

}  // namespace tandem
