// What the attention kernels' online softmax shares. Scores are scaled by log2(e) so that the
// exponentials have base 2.
#pragma once

#include <limits>

#include "gpu_attention/cuda/device.cuh"

namespace tandem::TANDEM_GPU {

constexpr float kLog2E = 1.44269504f;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Over the four lanes that hold one row of a matrix fragment (mma.cuh: lane = 4 g + t).
__device__ __forceinline__ float QuadMax(float x) {
  x = fmaxf(x, ShuffleXor(x, 1));
  return fmaxf(x, ShuffleXor(x, 2));
}
__device__ __forceinline__ float QuadSum(float x) {
  x += ShuffleXor(x, 1);
  return x + ShuffleXor(x, 2);
}

}  // namespace tandem::TANDEM_GPU
