#include "gpu_attention/dense_backend.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<DenseBackend>> CreateCudaBackend(const ModelShape&,
                                                                const DenseBackendOptions&,
                                                                const GpuOptions&) {
  return absl::UnavailableError(
      "this build of tandem has no CUDA; configure it with -DTANDEM_CUDA=ON (CUDA 13 or later)");
}

}  // namespace tandem
