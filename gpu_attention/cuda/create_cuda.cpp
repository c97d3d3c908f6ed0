#include "gpu_attention/cuda/gpu_backend.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<DenseBackend>> CreateCudaBackend(const ModelShape& shape,
                                                                const DenseBackendOptions& options,
                                                                const GpuOptions& gpu) {
  return cuda::GpuBackend::Create(shape, options, gpu);
}

}  // namespace tandem
