#include "bench/gpu/gpu_rates.h"

namespace tandem {

absl::StatusOr<GpuSpec> MeasureEmulatedGpu(const GpuMeasureOptions& options) {
  return emulated::MeasureGpuRates(options);
}

}  // namespace tandem
