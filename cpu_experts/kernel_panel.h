// What all SIMD kernels know of a panel (see panel16g32.h), and how they unroll. Included only by
// kernel_<isa>.cpp files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_experts/kernel_table.h"

// Sums stay in registers only when the loops over tokens, registers and lines are unrolled. Over an
// emulation of the instructions that would only cost compile time.
#ifdef TANDEM_SIMD_HEADER
#define TANDEM_UNROLL
#else
#define TANDEM_UNROLL _Pragma("GCC unroll 8")
#endif

namespace tandem {
namespace {

constexpr int kRowsPerPanel = 16;
constexpr int kNibbleBytes = 256;  // of one group of a panel
constexpr int kScaleBytes = 32;
constexpr int kLineBytes = 64;
constexpr int kPrefetchGroups = 16;  // how far ahead of the nibbles memory is asked for

[[gnu::always_inline]] inline const uint8_t* Nibbles(const uint8_t* panel, int group) {
  return panel + static_cast<ptrdiff_t>(group) * kNibbleBytes;
}
[[gnu::always_inline]] inline const uint8_t* Scales(const uint8_t* panel, int groups, int group) {
  return panel + static_cast<ptrdiff_t>(groups) * kNibbleBytes + group * kScaleBytes;
}

}  // namespace
}  // namespace tandem
