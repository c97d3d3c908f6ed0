// Pointers into device memory, as kernel arguments carry them. On an NVIDIA GPU they are plain
// pointers; under emulation they know the bounds of the tensor that they were made for, and an
// access outside stops the test (gpu_attention/emulation/checked_pointer.h).
//
// The GPU sources are compiled once per target, each in its own namespace tandem::TANDEM_GPU:
// `cuda` by nvcc, `emulated` by the C++ compiler.
#pragma once

#include <cstdint>

#ifdef TANDEM_GPU_EMULATED

#include "gpu_attention/emulation/checked_pointer.h"

#else

namespace tandem::TANDEM_GPU {

template <class T>
using Global = T*;
template <class T>
using Shared = T*;

// A pointer to `count` elements of memory that device code may touch.
template <class T>
constexpr Global<T> MakeGlobal(T* data, [[maybe_unused]] int64_t count) {
  return data;
}
// For the host side of copies; under emulation checks that `count` elements are there.
template <class T>
T* RawPointer(T* p, [[maybe_unused]] int64_t count) {
  return p;
}
// The same memory, seen as elements of another type.
template <class To, class From>
__attribute__((always_inline)) constexpr To* PointerCast(From* p) {
  return reinterpret_cast<To*>(p);
}

}  // namespace tandem::TANDEM_GPU

#endif
