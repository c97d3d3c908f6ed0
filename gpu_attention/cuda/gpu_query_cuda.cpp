#include "gpu_attention/gpu_query.h"

#include "gpu_attention/cuda/cuda_call.h"

namespace tandem {

GpuQuery QueryGpus() {
  GpuQuery query;
  query.built_with_cuda = true;
  cuda::LoadKernelsAtStart();
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    if (error != cudaErrorNoDevice) query.problem = cudaGetErrorString(error);
    return query;
  }
  int current = 0;
  cudaGetDevice(&current);
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
    size_t free_bytes = 0, total_bytes = 0;
    if (cudaSetDevice(device) == cudaSuccess) cudaMemGetInfo(&free_bytes, &total_bytes);
    query.gpus.push_back({properties.name, properties.major, properties.minor,
                          static_cast<int64_t>(properties.totalGlobalMem),
                          static_cast<int64_t>(free_bytes)});
  }
  cudaSetDevice(current);
  return query;
}

}  // namespace tandem
