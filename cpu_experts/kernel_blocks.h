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

// One decoded block of kPanels panels.
struct Block {
  const uint8_t* decoded;  // kPanels times kBlockBytes
  const uint8_t* scales;   // of the first panel
  ptrdiff_t panel_bytes;   // to the next panel's scales
  int groups;
};

// Asks for `groups` groups of a panel; `from` may be anywhere.
template <class Isa>
void PrefetchGroups(const uint8_t* nibbles, const uint8_t* scales, int groups) {
  for (int line = 0; line < groups * kNibbleBytes / kLineBytes; ++line)
    Isa::Prefetch(nibbles + line * kLineBytes);
  for (int g = 0; g < groups; g += kLineBytes / kScaleBytes)
    Isa::Prefetch(scales + g * kScaleBytes);
}

// A Mode has
//   Isa; kPanels, kTokens: the shape of a tile; kBlockGroups; kRecord: bytes of a record
//   kBlockBytes: of one decoded panel of a block
//   Decode(nibbles, scales, groups, out)
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
  using Isa = typename Mode::Isa;
  static_assert(Mode::kPanels * Mode::kBlockBytes <= kScratchBytes);
  const int end = args.first_group + args.n_groups;
  const int tiles = (args.tokens + Mode::kTokens - 1) / Mode::kTokens;
  for (int group = args.first_group; group < end; group += Mode::kBlockGroups) {
    const int groups = end - group < Mode::kBlockGroups ? end - group : Mode::kBlockGroups;
    const bool last = group + groups == end;
    const uint8_t* soon = last ? args.next : args.panels;
    const int soon_group = last ? args.first_group : group + groups;
    const int soon_groups = args.groups - soon_group < groups ? args.groups - soon_group : groups;
    for (int panel = 0; panel < args.n_panels; panel += Mode::kPanels) {
      for (int p = 0; p < Mode::kPanels; ++p) {
        const ptrdiff_t offset = (panel + p) * args.panel_bytes;
        if (soon != nullptr)
          PrefetchGroups<Isa>(Nibbles(soon + offset, soon_group),
                              Scales(soon + offset, args.groups, soon_group), soon_groups);
        const uint8_t* source = args.panels + offset;
        Mode::Decode(Nibbles(source, group), Scales(source, args.groups, group), groups,
                     args.scratch + p * Mode::kBlockBytes);
      }
      const Block block = {args.scratch,
                           Scales(args.panels + panel * args.panel_bytes, args.groups, group),
                           args.panel_bytes, groups};
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
