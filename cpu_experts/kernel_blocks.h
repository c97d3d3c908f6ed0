// Many tokens: a block of groups of a few panels is decoded once, lies in L1, and all tokens are
// multiplied with it, tile by tile. Included only by kernel_<isa>.cpp files.
//
// Blocks are the outer loop and panels the inner one: the tokens' records of a block (40 KiB for 64
// tokens and 16 groups) are read by all panels of the call before the next block needs the cache.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_experts/kernel_panel.h"

namespace tandem {
namespace {

// Groups that will be read next. They are asked for one by one among the work on the present ones:
// a burst of prefetches would wait for the memory like loads.
struct Soon {
  const uint8_t* nibbles;  // null: nothing to ask for
  const uint8_t* scales;

  template <class Isa>
  [[gnu::always_inline]] void Prefetch(int group) const {
    if (nibbles == nullptr) return;
    for (int i = 0; i < 4; ++i) Isa::Prefetch(nibbles + group * kNibbleBytes + i * kLineBytes);
    Isa::Prefetch(scales + group * kScaleBytes);
  }
};

// After groups [group, group + groups) of a panel comes the next block, or the next panels.
inline Soon SoonAfter(const DotArgs& args, int panel, int group, int groups) {
  const bool last = group + groups == args.first_group + args.n_groups;
  const uint8_t* from = last ? args.next : args.panels;
  if (from == nullptr) return {nullptr, nullptr};
  from += panel * args.panel_bytes;
  const int first = last ? args.first_group : group + groups;
  return {Nibbles(from, first), Scales(from, args.groups, first)};
}

// One decoded block of kPanels panels.
struct Block {
  const uint8_t* decoded;  // kPanels times kBlockBytes
  const uint8_t* scales;   // of the first panel
  ptrdiff_t panel_bytes;   // to the next panel's scales
  int groups;
  Soon soon;  // of the first panel, for the first tile
};

// A Mode has
//   Isa; kPanels, kTokens: the shape of a tile; kBlockGroups; kRecord: bytes of a record
//   kBlockBytes: of one decoded panel of a block
//   Decode(nibbles, scales, groups, out, soon): may ask for what comes soon, else Tile does
//   Tile<tokens>(block, x, x_offset, sums, fresh): adds the block to sums[tokens][kPanels * 16]
template <class Mode, int kTokens>
void TileOf(int tokens, const Block& block, const uint8_t* const* x, ptrdiff_t x_offset,
            float* sums, bool fresh) {
  if constexpr (kTokens > 0) {
    if (tokens == kTokens) return Mode::template Tile<kTokens>(block, x, x_offset, sums, fresh);
    TileOf<Mode, kTokens - 1>(tokens, block, x, x_offset, sums, fresh);
  }
}

template <class Mode>
void DotByBlocks(const DotArgs& args) {
  static_assert(Mode::kPanels * Mode::kBlockBytes <= kScratchBytes);
  const int end = args.first_group + args.n_groups;
  const int tiles = (args.tokens + Mode::kTokens - 1) / Mode::kTokens;
  for (int group = args.first_group; group < end; group += Mode::kBlockGroups) {
    const int groups = end - group < Mode::kBlockGroups ? end - group : Mode::kBlockGroups;
    for (int panel = 0; panel < args.n_panels; panel += Mode::kPanels) {
      for (int p = 0; p < Mode::kPanels; ++p) {
        const uint8_t* source = args.panels + (panel + p) * args.panel_bytes;
        Mode::Decode(Nibbles(source, group), Scales(source, args.groups, group), groups,
                     args.scratch + p * Mode::kBlockBytes,
                     SoonAfter(args, panel + p, group, groups));
      }
      Block block = {args.scratch,
                     Scales(args.panels + panel * args.panel_bytes, args.groups, group),
                     args.panel_bytes, groups, SoonAfter(args, panel, group, groups)};
      for (int tile = 0; tile < tiles; ++tile) {  // of nearly equal size
        const int begin = args.tokens * tile / tiles, end_token = args.tokens * (tile + 1) / tiles;
        TileOf<Mode, Mode::kTokens>(
            end_token - begin, block, args.x + begin, static_cast<ptrdiff_t>(group) * Mode::kRecord,
            args.sums + begin * kSumsStride + panel * kRowsPerPanel, group == 0);
      }
    }
  }
}

}  // namespace
}  // namespace tandem
