// The modes of the AMX table, for a tile policy. Included only by kernel_amx.cpp and its emulation.
#pragma once

#include "cpu_experts/kernel_amx_bf16.h"
#include "cpu_experts/kernel_amx_int8.h"

namespace tandem {
namespace {

template <class Tiles, int kPlanes>
constexpr ModeKernels kAmxIntegerMode = {RecordBytes(kPlanes), Quantize<Base512, kPlanes>,
                                         AmxInt8<Tiles, kPlanes>::Dot, SiluMul<Base512, kPlanes>,
                                         AmxInt8<Tiles, kPlanes>::kFromTokens};

template <class Tiles>
constexpr ModeKernels kAmxBf16Mode = {kBf16RecordBytes, CopyBf16<Base512>, AmxBf16<Tiles>::Dot,
                                      SiluMulBf16<Base512>, 2};

}  // namespace
}  // namespace tandem
