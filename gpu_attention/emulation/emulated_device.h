// What the emulated GPU pretends to be. Settings hold for what comes after; not while work is under
// way.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem::emulated {

inline constexpr size_t kMostSharedBytes = 227 * 1024;  // H100, B200

// Shared memory that a kernel may ask for: 99 KiB on sm_86, 89 and 120, 163 KiB on sm_80.
// REQUIRES: <= kMostSharedBytes, the default.
void SetSharedBytesPerBlock(size_t bytes);
size_t SharedBytesPerBlock();

// Device memory; 16 GiB by default. What is allocated already stays.
void SetMemoryBudget(int64_t bytes);

// Whether `address` lies in device memory or in page-locked host memory, so that a copy may take
// its time.
bool IsDeviceOrPinned(const void* address);

}  // namespace tandem::emulated
