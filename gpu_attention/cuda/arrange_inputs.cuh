// Arranging one row (arrange_inputs.h), shared by the kernels that do it.
#pragma once

#include "gpu_attention/cuda/arrange_inputs.h"
#include "gpu_attention/cuda/device.cuh"

namespace tandem::TANDEM_GPU {

// Chunk `chunk` (16 bytes) of an arranged row, by one thread.
__device__ __forceinline__ void ArrangeChunk(Global<const bf16> row, Global<bf16> arranged,
                                             int32_t chunk) {
  const Global<const bf16> from = row + chunk / 4 * 32 + chunk % 4 * 4;
  const uint2 low = LoadAs<uint2>(from), high = LoadAs<uint2>(from + 16);
  auto even = [](uint2 v) { return (v.x & 0xffffu) | v.y << 16; };
  auto odd = [](uint2 v) { return v.x >> 16 | (v.y & 0xffff0000u); };
  StoreAs(arranged + chunk * 8, uint4{even(low), odd(low), even(high), odd(high)});
}

}  // namespace tandem::TANDEM_GPU
