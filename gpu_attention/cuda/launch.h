// Puts a kernel into a stream. Kernels take one argument: a struct of plain values and pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

struct LaunchShape {
  uint32_t blocks_x = 1, blocks_y = 1, blocks_z = 1;
  uint32_t threads = 32;    // of a block; a multiple of 32
  size_t shared_bytes = 0;  // dynamic shared memory of a block (see SharedArena in device.cuh)
};

#ifdef TANDEM_GPU_EMULATED
// Calls `thread` once for every thread of every block.
void LaunchBlocks(Stream& stream, const char* name, const LaunchShape& shape,
                  std::function<void()> thread);
#else
void LaunchKernel(Stream& stream, const char* name, const void* kernel, const LaunchShape& shape,
                  void** arguments);
#endif

// An empty grid (a dimension of 0) does nothing. `name` appears in errors: a literal.
template <class Args>
void Launch(Stream& stream, const char* name, void (*kernel)(Args), const LaunchShape& shape,
            const std::type_identity_t<Args>& args) {
  if (shape.blocks_x == 0 || shape.blocks_y == 0 || shape.blocks_z == 0) return;
#ifdef TANDEM_GPU_EMULATED
  LaunchBlocks(stream, name, shape, [kernel, args] { kernel(args); });
#else
  void* arguments[] = {const_cast<Args*>(&args)};
  LaunchKernel(stream, name, reinterpret_cast<const void*>(kernel), shape, arguments);
#endif
}

}  // namespace tandem::TANDEM_GPU
