// All vector kernels, written once over the vocabulary of a simd_*.h file, which must be included
// before this one. Included by the kernels_*.cpp file of each instruction set and nothing else:
// everything here is in an anonymous namespace, so every such file has its own copy.
#pragma once

#include "gpu_attention/host/dense_kernels.h"
#include "gpu_attention/host/kernels_simd_attend.h"
#include "gpu_attention/host/kernels_simd_elementwise.h"
#include "gpu_attention/host/kernels_simd_linear.h"

namespace tandem {
namespace {

constexpr DenseKernels MakeDenseKernels(const char* name) {
  return {
      .name = name,
      .linear_bf16 = LinearPanels<Bf16Tile>,
      .linear_f32 = LinearPanels<F32Tile>,
      .linear_int8 = LinearPanels<Int8Tile>,
      .quantize = Quantize,
      .rms_norm = RmsNorm,
      .silu_mul = SiluMul,
      .attend = Attend,
  };
}

}  // namespace
}  // namespace tandem
