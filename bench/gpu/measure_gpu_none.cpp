#include "bench/gpu/measure_gpu.h"

namespace tandem {

absl::StatusOr<GpuSpec> MeasureGpu(const GpuMeasureOptions&) {
  return absl::UnavailableError(
      "this build of tandem has no CUDA; configure it with -DTANDEM_CUDA=ON (CUDA 13 or later)");
}

}  // namespace tandem
