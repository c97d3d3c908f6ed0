// Measures what the cost model computes with (placement/machine_rates.h), by running the real
// kernels as the engine runs them: the same team, awake; the same backend and experts, with random
// weights; weights that are not in the caches unless the model's would be.
//
// Every figure is the median of several rounds over all points, so that a machine whose neighbours
// come and go is seen at more than one moment. A shape of Kimi K2.6's width takes about 20 seconds
// on two cores, a small one a few.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/gpu/measure_gpu.h"
#include "core/model_shape.h"
#include "core/status.h"
#include "cpu_experts/activation.h"
#include "placement/machine.h"

namespace tandem {

struct CalibrationOptions {
  std::vector<ModelShape> shapes;
  std::vector<int32_t> weight_bits = {16};  // of the dense side: 16, 8 or both
  int threads = 0;                          // 0: all physical cores
  ExpertActivations activations = ExpertActivations::kInt8;
  std::string kernel;     // of the experts; "" = best for this CPU
  std::string disk_path;  // a large file on the disk that holds the experts; "": not measured
  // What measures the GPU: MeasureGpu where there is one; none: its rates stay as they are. The
  // load it is given is the experts of the largest shape.
  std::function<absl::StatusOr<GpuSpec>(const GpuMeasureOptions&)> measure_gpu;
  // Shares of the usual time to spend; a tenth is enough to see that everything works.
  double effort = 1;
  std::function<void(const std::string&)> on_part;  // told what is measured next
};

// Fills in machine.rates, and what was measured of nodes and GPU. Curves of other shapes stay,
// those of the same are replaced. Errors: RESOURCE_EXHAUSTED for memory, INVALID_ARGUMENT for a
// shape or kernel that cannot be run, whatever reading `disk_path` or measure_gpu says; `machine`
// is then unchanged.
absl::Status Calibrate(const CalibrationOptions& options, Machine& machine);

}  // namespace tandem
