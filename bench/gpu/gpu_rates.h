// MeasureGpu() (bench/gpu/measure_gpu.h) for either target.
#pragma once

#include "bench/gpu/measure_gpu.h"

namespace tandem::TANDEM_GPU {

absl::StatusOr<GpuSpec> MeasureGpuRates(const GpuMeasureOptions& options);

}  // namespace tandem::TANDEM_GPU
