// The kernels of one instruction set: one table per kernel_<isa>.cpp, for each mode of activations
// a few primitives. The driver cuts the work; kernels know nothing of experts or threads.
//
// For one token the sequence of float operations of a dot product depends neither on the other
// tokens of the call nor on where its groups are cut into calls: same row, same bits.
// Traffic: the panels once per call (4.5 bits per weight), for up to kMaxTokens tokens.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "core/cpu_features.h"
#include "cpu_experts/activation.h"

namespace tandem {

constexpr int kMaxTokens = 128;   // most tokens of one call
constexpr int kMaxPanels = 4;     // most panels of one dot call
constexpr int kColumnGroup = 32;  // intermediate columns of one silu_mul: one record of h
constexpr int kSumsStride = 16 * kMaxPanels;  // floats per token
constexpr int64_t kSumsBytes = kMaxTokens * kSumsStride * sizeof(float);
constexpr int64_t kScratchBytes = 96 * 1024;  // a kernel's own: expanded weights, stays in L2

// sums[t][16 * panel + row] (+)= row . x[t] over groups [first_group, first_group + n_groups).
struct DotArgs {
  const uint8_t* panels = nullptr;  // whole panels, adjacent
  // What is read after these panels (its same groups), for prefetch; may be null.
  const uint8_t* next = nullptr;
  int64_t panel_bytes = 0;
  int32_t n_panels = 0;     // 2 or 4
  int32_t groups = 0;       // of a whole panel: where its scales begin
  int32_t first_group = 0;  // 0 starts the sums from zero; else they are continued
  int32_t n_groups = 0;
  int32_t tokens = 0;                 // 1..kMaxTokens
  const uint8_t* const* x = nullptr;  // [tokens] whole rows of records
  int64_t x_stride = 0;        // bytes from row to row where that is the same for all; else 0
  float* sums = nullptr;       // [tokens][kSumsStride], 64-byte aligned
  uint8_t* scratch = nullptr;  // kScratchBytes, 64-byte aligned
};

// What a kernel offers for one mode of activations.
struct ModeKernels {
  int64_t record_bytes;  // of 32 activations; see activation.h
  // One row of records from BF16: x [32 * groups].
  void (*quantize)(const bf16* x, int32_t groups, uint8_t* records);
  void (*dot)(const DotArgs&);
  // Sums of four panels (gate, up, gate, up) to one record of h = silu(gate) * up per token:
  // record `group` of the row h[t].
  void (*silu_mul)(const float* sums, int32_t tokens, int32_t group, uint8_t* const* h);
  // From so many tokens on dot is faster if x_stride is not 0 (tiles load rows at a stride).
  int32_t evenly_spaced_from;

  int64_t RowBytes(int64_t inputs) const { return inputs / kActivationGroup * record_bytes; }
};
constexpr int32_t kNeverEvenlySpaced = kMaxTokens + 1;

struct AddWeightedArgs {
  const float* sums = nullptr;  // [tokens][kSumsStride]
  int32_t tokens = 0;
  int32_t rows = 0;                // output rows: 16 per panel
  const float* weights = nullptr;  // [tokens] routing weights
  float* const* y = nullptr;       // [tokens] rows of hidden, added to
  int64_t first_row = 0;           // sums[t][0] belongs to y[t][first_row]
};

struct KernelTable {
  const char* name;
  bool CpuFeatures::*required[4];  // all of these; null ends them, so no entry runs everywhere
  const ModeKernels* modes[kActivationModes];    // by ExpertActivations; null: not offered
  void (*add_weighted)(const AddWeightedArgs&);  // y += weight * sums

  const ModeKernels* mode(ExpertActivations activations) const {
    return modes[static_cast<int>(activations)];
  }
};

extern constinit const KernelTable kReferenceTable;
extern constinit const KernelTable kAvx2Table;
extern constinit const KernelTable kAvxVnniTable;
extern constinit const KernelTable kAvx512VnniTable;
extern constinit const KernelTable kAvx512Bf16Table;
extern constinit const KernelTable kAmxTable;

}  // namespace tandem
