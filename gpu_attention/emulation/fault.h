// What the emulated GPU does when a kernel breaks a rule. The fault ends the thread's kernel and
// the rest of the grid; the stream keeps it as its error, with the names of kernel, block and
// thread. In host code (a copy beyond the end of a tensor, device memory read by the host) it stops
// the program: nobody would look at a Status there.
#pragma once

#include <cstddef>
#include <string>

namespace tandem::emulated {

[[noreturn, gnu::cold]] void Fault(const std::string& what);

// `bytes` bytes at `address` are not within the `size` bytes from `begin` on, or not aligned.
[[noreturn, gnu::cold]] void AccessFault(const char* space, const void* address, size_t bytes,
                                         size_t alignment, const void* begin, size_t size);

}  // namespace tandem::emulated
