// The OS threads that share the blocks of all emulated kernels: one per core, next to the streams'
// own workers.
#pragma once

#include <cstdint>
#include <functional>

namespace tandem::emulated {

// Calls run(0) .. run(count - 1), each once, handed out in ascending order, and returns when all
// are done. The calling thread takes part, so a grid advances even while all others are busy in
// grids that wait for it. Any thread.
void RunShared(int64_t count, const std::function<void(int64_t)>& run);

}  // namespace tandem::emulated
