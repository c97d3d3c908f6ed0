// The gate of an MLP: out[r][i] = silu(gate[r][i]) * up[r][i], silu(x) = x / (1 + exp(-x)), in F32.
//
// Traffic: 10 bytes an element from F32, 6 from BF16, each touched once, so bound by memory: 8 rows
// of 2048 from F32 are 160 KiB, less than the 2 us that starting a kernel takes.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

struct SiluMulArgs {
  // Exactly one of these is set: [rows, 2 * width], the gates first. Rows are 16-byte aligned.
  Global<const float> gate_up_f32 = nullptr;
  Global<const bf16> gate_up_bf16 = nullptr;
  Global<bf16> out = nullptr;  // [rows, width], 8-byte aligned
  int32_t rows = 0;
  int32_t width = 0;   // a multiple of 4
  int64_t in_row = 0;  // elements from row to row of gate_up
};

void SiluMul(Stream& stream, const SiluMulArgs& args);

}  // namespace tandem::TANDEM_GPU
