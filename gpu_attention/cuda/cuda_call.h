// Inside of the CUDA implementation: errors as Status, and the device that all threads work with.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "core/status.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::cuda {

// OK, or INTERNAL in CUDA's words behind `what`. Clears the error that the thread remembers.
absl::Status ToStatus(cudaError_t error, const std::string& what);

// Before the first call into CUDA. By default kernels are loaded when they are first launched,
// which may wait for the device, and for ever if a kernel there waits for this one.
void LoadKernelsAtStart();

// Makes OpenDevice's choice the calling thread's device.
void UseDevice();

struct Stream::Impl {
  cudaStream_t stream = nullptr;
  absl::Status status;
  bool recording = false;
  const char* last = "nothing";  // what was put into the stream last

  ~Impl();
  // Whether more work makes sense; notes its name.
  bool Begin(const char* what);
  // Keeps the first error.
  void Keep(cudaError_t error, const std::string& what);
};

}  // namespace tandem::cuda
