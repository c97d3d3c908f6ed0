#include "cpu_experts/shards.h"

#include <algorithm>
#include <cstring>

#include "core/status.h"

namespace tandem {
namespace {

// Columns that two shards have in common.
struct Overlap {
  int64_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

Int4Matrix SliceRows(const Int4Matrix& m, int64_t begin, int64_t end) {
  return {m.packed.Slice(begin, end - begin), m.scales.Slice(begin, end - begin)};
}

template <class T>
View<const T, 2> Inputs(View<const T, 2> m, int64_t begin, int64_t end) {
  return {m.data() + begin, {m.dim(0), end - begin}, {m.stride(0), m.stride(1)}};
}

// Gate and up panels of the common columns follow one another in both cuts.
void CopyGateUp(const ExpertLayout& from_layout, int64_t from_begin, const uint8_t* from,
                const ExpertLayout& to_layout, int64_t to_begin, Overlap common, uint8_t* to) {
  const int64_t first = (common.begin - from_begin) / kPanelRows;
  const int64_t to_first = (common.begin - to_begin) / kPanelRows;
  const int64_t panels = (common.end - common.begin) / kPanelRows;
  std::memcpy(to + to_layout.gate_panel(to_first), from + from_layout.gate_panel(first),
              2 * panels * to_layout.gate_up_panel_bytes());
}

// Of each down panel: the groups of the common columns, then their scales.
void CopyDown(const ExpertLayout& from_layout, int64_t from_begin, const uint8_t* from,
              const ExpertLayout& to_layout, int64_t to_begin, Overlap common, uint8_t* to) {
  const int64_t groups = (common.end - common.begin) / kGroupInputs;
  const int64_t from_group = (common.begin - from_begin) / kGroupInputs;
  const int64_t to_group = (common.begin - to_begin) / kGroupInputs;
  const int64_t from_scales = PanelScaleOffset(from_layout.intermediate);
  const int64_t to_scales = PanelScaleOffset(to_layout.intermediate);
  for (int64_t p = 0; p < PanelCount(to_layout.hidden); ++p) {
    const uint8_t* source = from + from_layout.down_panel(p);
    uint8_t* target = to + to_layout.down_panel(p);
    std::memcpy(target + to_group * kGroupBytes, source + from_group * kGroupBytes,
                groups * kGroupBytes);
    std::memcpy(target + to_scales + to_group * kGroupScaleBytes,
                source + from_scales + from_group * kGroupScaleBytes, groups * kGroupScaleBytes);
  }
}

// Zeros that belong to no group: panels of an odd number of groups end on half a cache line.
void ClearPadding(const ExpertLayout& layout, int64_t block_bytes, uint8_t* out) {
  const auto clear = [out](int64_t panel, int64_t inputs) {
    const int64_t used = inputs / kGroupInputs * (kGroupBytes + kGroupScaleBytes);
    std::memset(out + panel + used, 0, PanelBytes(inputs) - used);
  };
  for (int64_t p = 0; p < PanelCount(layout.hidden); ++p)
    clear(layout.down_panel(p), layout.intermediate);
  std::memset(out + layout.bytes(), 0, block_bytes - layout.bytes());
}

}  // namespace

ExpertWeights SliceColumns(const ExpertWeights& weights, int64_t begin, int64_t end) {
  TANDEM_CHECK(begin % kShardUnit == 0 && end % kShardUnit == 0, "cuts lie between groups");
  const Int4Matrix& down = weights.down;
  return {SliceRows(weights.gate, begin, end),
          SliceRows(weights.up, begin, end),
          {Inputs(down.packed, begin / 2, end / 2),
           Inputs(down.scales, begin / kGroupInputs, end / kGroupInputs)}};
}

void PackShards(const ShardedLayout& layout, const ExpertWeights& weights, uint8_t* out) {
  for (int s = 0; s < layout.n_shards(); ++s) {
    uint8_t* block = out + layout.offset(s);
    PackExpert(layout.layout(s), SliceColumns(weights, layout.begin(s), layout.begin(s + 1)),
               block);
    const int64_t used = layout.layout(s).bytes();
    std::memset(block + used, 0, layout.block_bytes(s) - used);
  }
}

void ReshardInto(const ShardedLayout& from, std::span<const uint8_t* const> from_shards,
                 const ShardedLayout& to, int to_shard, uint8_t* out) {
  TANDEM_CHECK(from.hidden() == to.hidden() && from.intermediate() == to.intermediate(),
               "another cut of the same expert");
  const ExpertLayout& to_layout = to.layout(to_shard);
  for (int s = 0; s < from.n_shards(); ++s) {
    const Overlap common = {std::max(from.begin(s), to.begin(to_shard)),
                            std::min(from.begin(s + 1), to.begin(to_shard + 1))};
    if (common.empty()) continue;
    CopyGateUp(from.layout(s), from.begin(s), from_shards[s], to_layout, to.begin(to_shard), common,
               out);
    CopyDown(from.layout(s), from.begin(s), from_shards[s], to_layout, to.begin(to_shard), common,
             out);
  }
  ClearPadding(to_layout, to.block_bytes(to_shard), out);
}

}  // namespace tandem
