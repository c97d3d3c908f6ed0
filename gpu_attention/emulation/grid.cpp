#include "gpu_attention/emulation/grid.h"

#include "gpu_attention/emulation/block.h"
#include "gpu_attention/emulation/block_pool.h"

namespace tandem::emulated {

absl::Status RunGrid(const char* name, const LaunchShape& shape,
                     const std::function<void()>& thread) {
  Grid grid{name, shape, thread};
  const int64_t xy = int64_t{shape.blocks_x} * shape.blocks_y;
  RunShared(xy * shape.blocks_z, [&](int64_t i) {
    if (grid.faulted.load(std::memory_order_relaxed)) return;
    thread_local Block block;
    block.Run(grid,
              {static_cast<uint32_t>(i % shape.blocks_x),
               static_cast<uint32_t>(i % xy / shape.blocks_x), static_cast<uint32_t>(i / xy)});
  });
  return grid.status;
}

}  // namespace tandem::emulated
