// How the INT4 weights of a routed expert lie on the GPU: byte for byte as in RAM
// (core/panel16g32.h), cut into shards as there (core/sharded_layout.h).
#pragma once

#include <cstdint>

#include "core/sharded_layout.h"
#include "core/status.h"

namespace tandem {

constexpr int kMaxExpertShards = 16;

// Shapes and cuts of one expert; passed to kernels by value.
struct ExpertCuts {
  int32_t hidden = 0;  // multiple of 32
  int32_t width = 0;   // intermediate columns, multiple of 32
  int32_t n_shards = 1;
  int32_t begin[kMaxExpertShards + 1] = {};  // first column of each shard; [n_shards] is the width
  int64_t offset[kMaxExpertShards] = {};     // bytes from the start of the expert; multiples of 64
};

// REQUIRES: layout.n_shards() <= kMaxExpertShards.
inline ExpertCuts CutsOf(const ShardedLayout& layout) {
  TANDEM_CHECK(layout.n_shards() <= kMaxExpertShards, "an expert in too many shards for a kernel");
  ExpertCuts cuts;
  cuts.hidden = static_cast<int32_t>(layout.hidden());
  cuts.width = static_cast<int32_t>(layout.intermediate());
  cuts.n_shards = layout.n_shards();
  for (int s = 0; s < cuts.n_shards; ++s) {
    cuts.begin[s] = static_cast<int32_t>(layout.begin(s));
    cuts.offset[s] = layout.offset(s);
  }
  cuts.begin[cuts.n_shards] = cuts.width;
  return cuts;
}

}  // namespace tandem
