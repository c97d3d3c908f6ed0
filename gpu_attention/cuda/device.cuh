// What a kernel source may use, on an NVIDIA GPU and under emulation alike. Included by .cu files
// only. Besides what is below:
//
//   __global__, __device__, __launch_bounds__, threadIdx.x, blockIdx.{x,y,z}, blockDim.x,
//   gridDim.{x,y,z}; __syncthreads(), __syncwarp() (all 32 lanes); Global<T>, Shared<T>
//   (pointers.h); mma.cuh; expf, exp2f, logf, rsqrtf, fmaxf, fminf and the like.
//
// Blocks are one-dimensional. All shared memory is dynamic and comes from a SharedArena.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/pointers.h"

#ifdef TANDEM_GPU_EMULATED

#include "gpu_attention/emulation/device.h"

#else

#include <cuda_bf16.h>

#include <cuda/atomic>

namespace tandem::TANDEM_GPU {

// Deals out the block's dynamic shared memory; every thread takes the same pieces in the same
// order. Pieces begin at multiples of 128 bytes.
class SharedArena {
 public:
  template <class T>
  __device__ Shared<T> Take(int64_t count) {
    extern __shared__ __align__(128) unsigned char tandem_shared_memory[];
    T* piece = reinterpret_cast<T*>(tandem_shared_memory + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 127) / 128 * 128;
    return piece;
  }

 private:
  int64_t used_ = 0;
};

// Several elements at once, e.g. LoadAs<uint4>(p). REQUIRES: p aligned to sizeof(V).
template <class V, class T>
__device__ __forceinline__ V LoadAs(T* p) {
  return *reinterpret_cast<const V*>(p);
}
template <class V, class T>
__device__ __forceinline__ void StoreAs(T* p, V value) {
  *reinterpret_cast<V*>(p) = value;
}
// The same from global memory for data that is read once: it stays out of the L1 cache. V: 4, 8 or
// 16 bytes of unsigned integers.
template <class V, class T>
__device__ __forceinline__ V LoadStreaming(T* p) {
  return __ldcs(reinterpret_cast<const V*>(p));
}

// A lane's value as another lane sees it. All 32 lanes must call.
template <class T>
__device__ __forceinline__ T ShuffleXor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class T>
__device__ __forceinline__ T Shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
// Bit i is set if lane i's predicate holds.
__device__ __forceinline__ uint32_t Ballot(bool predicate) {
  return __ballot_sync(0xffffffffu, predicate);
}

// Two floats as bf16, the first in the low half.
__device__ __forceinline__ uint32_t PackBf16x2(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}
__device__ __forceinline__ bf16 RoundToBf16(float x) {
  const __nv_bfloat16 rounded = __float2bfloat16_rn(x);
  return {reinterpret_cast<const uint16_t&>(rounded)};
}
// Sums and products of pairs of bf16, each rounded once.
__device__ __forceinline__ uint32_t AddBf16x2(uint32_t a, uint32_t b) {
  const __nv_bfloat162 sum = __hadd2_rn(reinterpret_cast<const __nv_bfloat162&>(a),
                                        reinterpret_cast<const __nv_bfloat162&>(b));
  return reinterpret_cast<const uint32_t&>(sum);
}
__device__ __forceinline__ uint32_t MulBf16x2(uint32_t a, uint32_t b) {
  const __nv_bfloat162 product = __hmul2_rn(reinterpret_cast<const __nv_bfloat162&>(a),
                                            reinterpret_cast<const __nv_bfloat162&>(b));
  return reinterpret_cast<const uint32_t&>(product);
}

// Returns the old value. T: int32_t, uint32_t, float (add only).
template <class T>
__device__ __forceinline__ T AtomicAdd(T* p, T value) {
  return atomicAdd(p, value);
}
template <class T>
__device__ __forceinline__ T AtomicMax(T* p, T value) {
  return atomicMax(p, value);
}

// Words that the CPU writes and reads at the same time (mapped memory).
__device__ __forceinline__ uint32_t LoadAcquireSystem(const uint32_t* p) {
  return ::cuda::atomic_ref<uint32_t, ::cuda::thread_scope_system>(*const_cast<uint32_t*>(p))
      .load(::cuda::memory_order_acquire);
}
__device__ __forceinline__ void StoreReleaseSystem(uint32_t* p, uint32_t value) {
  ::cuda::atomic_ref<uint32_t, ::cuda::thread_scope_system>(*p).store(value,
                                                                      ::cuda::memory_order_release);
}
// Orders all writes of this thread before its later ones, as the CPU sees them.
__device__ __forceinline__ void FenceSystem() { __threadfence_system(); }
// Nanoseconds, the same clock for all blocks.
__device__ __forceinline__ uint64_t NanoTime() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}
// Waits a moment within a spin loop.
__device__ __forceinline__ void SpinPause() { __nanosleep(100); }

}  // namespace tandem::TANDEM_GPU

#endif

namespace tandem::TANDEM_GPU {

__device__ __forceinline__ float LowToFloat(uint32_t pair) {
  return ToFloat(bf16{static_cast<uint16_t>(pair)});
}
__device__ __forceinline__ float HighToFloat(uint32_t pair) {
  return ToFloat(bf16{static_cast<uint16_t>(pair >> 16)});
}

// Over the 32 lanes; every lane gets the result.
__device__ __forceinline__ float WarpSum(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x += ShuffleXor(x, mask);
  return x;
}
__device__ __forceinline__ float WarpMax(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, ShuffleXor(x, mask));
  return x;
}
// Over the block; every thread gets the result. scratch [32]. All threads must call.
__device__ __forceinline__ float BlockSum(float x, Shared<float> scratch) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  x = WarpSum(x);
  __syncthreads();  // the scratch may still be read from an earlier call
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  return WarpSum(lane < static_cast<int>(blockDim.x) / 32 ? float{scratch[lane]} : 0.0f);
}

}  // namespace tandem::TANDEM_GPU
