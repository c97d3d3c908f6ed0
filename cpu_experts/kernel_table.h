// The kernels of one instruction set: one table per kernel_<isa>.cpp.
//
// All sets compute the same thing from the same bytes:
//   gate_up: h = quantise( silu(gate x) * (up x) )   for some columns of one expert
//   down:    y += weight * (down h)                  for some rows of one expert
// Traffic per expert: its panels once (4.5 bits per weight) for up to kMaxTokens tokens.
// For one token the sequence of float operations does not depend on the other tokens of the call.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "core/cpu_features.h"

namespace tandem {

constexpr int kMaxTokens = 128;   // most tokens of one kernel call
constexpr int kColumnGroup = 32;  // intermediate columns of one gate_up step: one group of h
// Weights expanded to bytes for many tokens, then the running sums of all tokens.
constexpr int64_t kExpandedBytes = 16 * 1024;
constexpr int64_t kSumsBytes = kMaxTokens * 64 * sizeof(float);
constexpr int64_t kScratchBytes = kExpandedBytes + kSumsBytes;

struct GateUpArgs {
  const uint8_t* panels = nullptr;  // of column group `first_group`: gate, up, gate, up
  int64_t panel_bytes = 0;
  int32_t groups = 0;       // hidden / 32
  int32_t first_group = 0;  // column groups [first_group, first_group + column_groups)
  int32_t column_groups = 0;
  int32_t planes = 1;
  int32_t tokens = 0;                 // <= kMaxTokens
  const uint8_t* const* x = nullptr;  // [tokens] rows of records over hidden
  uint8_t* const* h = nullptr;        // [tokens] rows of records over intermediate, written
  uint8_t* scratch = nullptr;         // kScratchBytes, 64-byte aligned
};

struct DownArgs {
  const uint8_t* panels = nullptr;  // of rows [16 * first_panel, 16 * (first_panel + n_panels))
  const uint8_t* next = nullptr;  // what will be read after these panels, for prefetch; may be null
  int64_t panel_bytes = 0;
  int32_t groups = 0;  // intermediate / 32
  int32_t first_panel = 0;
  int32_t n_panels = 0;
  int32_t planes = 1;
  int32_t tokens = 0;                 // <= kMaxTokens
  const uint8_t* const* h = nullptr;  // [tokens] rows of records over intermediate
  const float* weights = nullptr;     // [tokens] routing weights
  float* const* y = nullptr;          // [tokens] rows of hidden, added to
  uint8_t* scratch = nullptr;         // kScratchBytes, 64-byte aligned
};

struct KernelTable {
  const char* name;
  bool CpuFeatures::*required;  // null: runs everywhere
  // Rows of records from BF16: x [32 * groups].
  void (*quantize)(const bf16* x, int32_t groups, int32_t planes, uint8_t* records);
  void (*gate_up)(const GateUpArgs&);
  void (*down)(const DownArgs&);
};

extern constinit const KernelTable kReferenceTable;
extern constinit const KernelTable kAvx2Table;
extern constinit const KernelTable kAvxVnniTable;
extern constinit const KernelTable kAvx512VnniTable;

}  // namespace tandem
