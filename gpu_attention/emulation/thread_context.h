// What a thread of an emulated kernel can ask of the block that it runs in. All of it is for
// kernels only: the functions stop the program when called by host code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>

#include "gpu_attention/emulation/vector_types.h"

namespace tandem::emulated {

// Of the running thread. Blocks are one-dimensional: threadIdx.y and .z are 0.
inline constinit thread_local dim3 threadIdx = {0, 0, 0};
inline constinit thread_local dim3 blockIdx = {0, 0, 0};
inline constinit thread_local dim3 blockDim = {};
inline constinit thread_local dim3 gridDim = {};

using Where = std::source_location;

// Waits for all threads of the block.
void WaitForBlock(Where where);

// Waits for all 32 lanes of the warp. The last one to arrive calls combine(arguments), where
// arguments[lane] is what that lane gave; then all go on. Lanes that disagree
// about `name`, a constant of the caller's, or the place are divergent.
void WaitForWarp(const char* name, void* argument, void (*combine)(void* const* arguments),
                 Where where);

// Lets the block's other threads, and other blocks, run.
void YieldThread();

// `bytes` of the block's shared memory from `offset` on.
std::byte* SharedMemory(size_t offset, size_t bytes);

// Copies of 16 bytes that take place no earlier than in WaitForCopies. from == nullptr: zeros.
void BeginCopy16(void* to, const void* from);
void CommitCopies();
void WaitForCopies(int pending_groups);

}  // namespace tandem::emulated
