#include "gpu_attention/cuda/gpu_backend.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<DenseBackend>> CreateEmulatedBackend(
    const ModelShape& shape, const DenseBackendOptions& options, const GpuOptions& gpu) {
  return emulated::GpuBackend::Create(shape, options, gpu);
}

}  // namespace tandem
