// Cuts an expert into shards (core/sharded_layout.h), and cuts shards anew.
#pragma once

#include <cstdint>
#include <span>

#include "core/sharded_layout.h"
#include "cpu_experts/experts.h"
#include "cpu_experts/panel16g32.h"

namespace tandem {

// Rows [begin, end) of gate and up, and inputs [begin, end) of down, as views into `weights`.
// REQUIRES: begin and end are multiples of 32.
ExpertWeights SliceColumns(const ExpertWeights& weights, int64_t begin, int64_t end);

// A whole expert into its shards, one after the other from `out`, which holds layout.expert_bytes()
// bytes and is 16-byte aligned. Thread-safe.
void PackShards(const ShardedLayout& layout, const ExpertWeights& weights, uint8_t* out);

// One shard of `to` out of an expert that lies in another cut: moves bytes, changes none.
// `from_shards[s]` is the start of shard s; `out` holds to.block_bytes(to_shard) bytes.
// REQUIRES: same hidden and intermediate. Thread-safe.
void ReshardInto(const ShardedLayout& from, std::span<const uint8_t* const> from_shards,
                 const ShardedLayout& to, int to_shard, uint8_t* out);

}  // namespace tandem
