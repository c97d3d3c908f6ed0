// The SIMD kernels of one instruction set, put together. Included only by kernel_<isa>.cpp files.
#pragma once

#include "cpu_experts/kernel_dot.h"
#include "cpu_experts/kernel_float.h"
#include "cpu_experts/kernel_row.h"

namespace tandem {
namespace {

// The INT8 modes: one or two planes of codes.
template <class Isa, int kPlanes>
constexpr ModeKernels kIntegerMode = {RecordBytes(kPlanes), Quantize<Isa, kPlanes>,
                                      Dot<Isa, kPlanes>, SiluMul<Isa, kPlanes>, kNeverEvenlySpaced};

// BF16 activations by F32 FMAs.
template <class Isa>
constexpr ModeKernels kFloatMode = {kBf16RecordBytes, CopyBf16<Isa>, DotByBlocks<FloatBlocks<Isa>>,
                                    SiluMulBf16<Isa>, kNeverEvenlySpaced};

}  // namespace
}  // namespace tandem
