// AMX: TDPBSSD on full tiles, four sums from two by two operands.
#include "bench/roofline_table.h"

namespace tandem {
namespace {

// Palette 1: eight tiles of 16 rows x 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

int64_t Int8Dots(int64_t rounds) {
  constexpr int kDots = 4, kOperations = 2 * 16 * 16 * 64;
  const TileConfig config;
  const int64_t turns = rounds / 8;  // a tile operation takes as long as many of a vector
  asm volatile("ldtilecfg %0" ::"m"(config));
  for (int64_t i = 0; i < turns; ++i) {
    asm volatile(
        "tdpbssd %tmm6, %tmm4, %tmm0\n\t"
        "tdpbssd %tmm7, %tmm4, %tmm1\n\t"
        "tdpbssd %tmm6, %tmm5, %tmm2\n\t"
        "tdpbssd %tmm7, %tmm5, %tmm3");
  }
  asm volatile("tilerelease");
  return turns * kDots * kOperations;
}

}  // namespace

constinit const RooflineTable kAmxRooflineTable = {"amx", &CpuFeatures::amx_int8, nullptr, Int8Dots,
                                                   nullptr};

}  // namespace tandem
