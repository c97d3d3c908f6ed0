#include "bench/gpu/gpu_rates.h"

namespace tandem {

absl::StatusOr<GpuSpec> MeasureGpu(const GpuMeasureOptions& options) {
  return cuda::MeasureGpuRates(options);
}

}  // namespace tandem
