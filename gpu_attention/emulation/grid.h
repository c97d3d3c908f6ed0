// Runs the blocks of one emulated kernel.
#pragma once

#include <functional>
#include <string>

#include "core/status.h"
#include "gpu_attention/cuda/launch.h"

namespace tandem::emulated {

// Returns when all blocks have ended. INTERNAL with the first fault's description if there was one;
// the blocks that had not begun by then are left out.
absl::Status RunGrid(const char* name, const LaunchShape& shape,
                     const std::function<void()>& thread);

}  // namespace tandem::emulated
