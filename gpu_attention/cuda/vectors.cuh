// Four neighbours at once, as kernels load and store them.
#pragma once

#include "gpu_attention/cuda/device.cuh"

namespace tandem::TANDEM_GPU {

__device__ __forceinline__ uint2 PackBf16x4(const float4& v) {
  return {PackBf16x2(v.x, v.y), PackBf16x2(v.z, v.w)};
}
__device__ __forceinline__ float SumOfSquares(const float4& v) {
  return (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
}

}  // namespace tandem::TANDEM_GPU
