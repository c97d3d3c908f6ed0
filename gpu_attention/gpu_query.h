// Which NVIDIA GPUs this machine has. A build without CUDA links a version that finds none, so
// callers hold no #ifdef.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

struct GpuInfo {
  std::string name;
  int32_t compute_major = 0;  // e.g. 9.0 for H100
  int32_t compute_minor = 0;
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;
};

struct GpuQuery {
  bool built_with_cuda = false;
  std::vector<GpuInfo> gpus;
  std::string problem;  // why none was found, in the driver's words; empty if it just has none
};

GpuQuery QueryGpus();

}  // namespace tandem
