// What the AMX loops share: the tile configuration, and rows of records as a tile can load them.
// Included only by kernel_amx.cpp and by the test that runs the same loops on emulated tiles.
//
// A policy Tiles has Configure(TileConfig), Release(), and for tile numbers known to the compiler
// Zero<t>(), Load<t>(p, stride), Store<t>(p, stride), DotInt8<c, a, b>(), DotBf16<c, a, b>().
//
// A dot call configures the tiles and releases them at its end: they are the thread's state, other
// libraries have their own configuration, and 8 KiB of live tiles make every context switch dearer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_experts/kernel_512_bf16.h"

namespace tandem {
namespace {

constexpr int kTileRows = 16, kTileBytes = 1024;

// Palette 1, as LDTILECFG reads it.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};

  void Set(int tile, int n_rows, int n_column_bytes) {
    rows[tile] = static_cast<uint8_t>(n_rows);
    column_bytes[tile] = static_cast<uint16_t>(n_column_bytes);
  }
};
static_assert(sizeof(TileConfig) == 64);

// Up to 16 tokens' records of a block, at a stride.
struct TileRecords {
  const uint8_t* base;
  ptrdiff_t stride;
};

// Rows that are not evenly spaced are copied to `gather`.
inline TileRecords RecordsOf(const DotArgs& args, int first, int rows, int group, int groups,
                             int record_bytes, uint8_t* gather) {
  const ptrdiff_t offset = static_cast<ptrdiff_t>(group) * record_bytes;
  if (args.x_stride != 0 || rows == 1) return {args.x[first] + offset, args.x_stride};
  const ptrdiff_t bytes = static_cast<ptrdiff_t>(groups) * record_bytes;
  for (int t = 0; t < rows; ++t)
    __builtin_memcpy(gather + t * bytes, args.x[first + t] + offset, bytes);
  return {gather, bytes};
}

}  // namespace
}  // namespace tandem
