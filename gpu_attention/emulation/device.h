// The emulated counterpart of gpu_attention/cuda/device.cuh, for kernel sources compiled as C++.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <source_location>

#include "core/bf16.h"
#include "gpu_attention/emulation/checked_pointer.h"
#include "gpu_attention/emulation/thread_context.h"
#include "gpu_attention/emulation/vector_types.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace tandem::emulated {

using std::max;
using std::min;

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

inline void __syncthreads(Where where = Where::current()) { WaitForBlock(where); }
inline void __syncwarp(Where where = Where::current()) {
  WaitForWarp(
      "__syncwarp", nullptr, [](void* const*) {}, where);
}

class SharedArena {
 public:
  template <class T>
  Shared<T> Take(int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    std::byte* piece = SharedMemory(used_, bytes);
    used_ += (bytes + 127) / 128 * 128;
    return {reinterpret_cast<T*>(piece), piece, bytes};
  }

 private:
  size_t used_ = 0;
};

template <class V, class T, class Space>
V LoadAs(CheckedPointer<T, Space> p) {
  V value;
  std::memcpy(&value, p.Access(sizeof(V), sizeof(V)), sizeof(V));
  return value;
}
template <class V, class T, class Space>
void StoreAs(CheckedPointer<T, Space> p, V value) {
  std::memcpy(p.Access(sizeof(V), sizeof(V)), &value, sizeof(V));
}
template <class V, class T>
V LoadStreaming(Global<T> p) {
  return LoadAs<V>(p);
}

namespace internal {
template <class T>
struct ShuffleArgument {
  T value;
  int source;
  T result;
};
template <class T>
T ShuffleFrom(const char* name, T value, int source, Where where) {
  ShuffleArgument<T> mine = {value, source & 31, {}};
  WaitForWarp(
      name, &mine,
      [](void* const* arguments) {
        for (int lane = 0; lane < 32; ++lane) {
          auto& to = *static_cast<ShuffleArgument<T>*>(arguments[lane]);
          to.result = static_cast<const ShuffleArgument<T>*>(arguments[to.source])->value;
        }
      },
      where);
  return mine.result;
}
}  // namespace internal

template <class T>
T ShuffleXor(T value, int mask, Where where = Where::current()) {
  return internal::ShuffleFrom("ShuffleXor", value, static_cast<int>(threadIdx.x) ^ mask, where);
}
template <class T>
T Shuffle(T value, int lane, Where where = Where::current()) {
  return internal::ShuffleFrom("Shuffle", value, lane, where);
}
inline uint32_t Ballot(bool predicate, Where where = Where::current()) {
  struct Argument {
    bool predicate;
    uint32_t result;
  } mine = {predicate, 0};
  WaitForWarp(
      "Ballot", &mine,
      [](void* const* arguments) {
        uint32_t result = 0;
        for (int lane = 0; lane < 32; ++lane) {
          result |= uint32_t{static_cast<const Argument*>(arguments[lane])->predicate} << lane;
        }
        for (int lane = 0; lane < 32; ++lane) {
          static_cast<Argument*>(arguments[lane])->result = result;
        }
      },
      where);
  return mine.result;
}

inline uint32_t PackBf16x2(float low, float high) {
  return ToBf16(low).bits | static_cast<uint32_t>(ToBf16(high).bits) << 16;
}
inline bf16 RoundToBf16(float x) { return ToBf16(x); }

namespace internal {
inline float HalfOf(uint32_t pair, int i) {
  return ToFloat(bf16{static_cast<uint16_t>(pair >> 16 * i)});
}
}  // namespace internal
// The F32 sum is exact unless the exponents are more than 16 apart.
inline uint32_t AddBf16x2(uint32_t a, uint32_t b) {
  using internal::HalfOf;
  return PackBf16x2(HalfOf(a, 0) + HalfOf(b, 0), HalfOf(a, 1) + HalfOf(b, 1));
}
inline uint32_t MulBf16x2(uint32_t a, uint32_t b) {
  using internal::HalfOf;
  return PackBf16x2(HalfOf(a, 0) * HalfOf(b, 0), HalfOf(a, 1) * HalfOf(b, 1));
}

template <class T, class Space>
T AtomicAdd(CheckedPointer<T, Space> p, T value) {
  return std::atomic_ref<T>(*p).fetch_add(value);
}
template <class T, class Space>
T AtomicMax(CheckedPointer<T, Space> p, T value) {
  std::atomic_ref<T> target(*p);
  T old = target.load();
  while (old < value && !target.compare_exchange_weak(old, value)) {
  }
  return old;
}

inline uint32_t LoadAcquireSystem(Global<const uint32_t> p) {
  return std::atomic_ref<uint32_t>(const_cast<uint32_t&>(*p)).load(std::memory_order_acquire);
}
inline void StoreReleaseSystem(Global<uint32_t> p, uint32_t value) {
  std::atomic_ref<uint32_t>(*p).store(value, std::memory_order_release);
}
inline void FenceSystem() {
#ifndef __SANITIZE_THREAD__  // which knows no fences; the atomics above order enough
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}
inline uint64_t NanoTime() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}
inline void SpinPause() { YieldThread(); }

}  // namespace tandem::emulated
