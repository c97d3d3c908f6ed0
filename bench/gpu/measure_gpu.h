// Measures what the cost model wants to know of a GPU (GpuSpec in placement/machine.h), with the
// kernels, copies and doorbells that the engine uses, on random data of Kimi K2.6's width.
//
// A few seconds on a GPU; takes 2 GiB of its memory at most and 0.6 GB of the host's, which is
// page-locked. Figures are medians of seven runs behind two warm-ups.
#pragma once

#include <functional>

#include "core/status.h"
#include "placement/machine.h"

namespace tandem {

struct GpuMeasureOptions {
  // Called again and again by the measuring thread while the link is measured beside it: the CPU's
  // experts at work, for about a millisecond. Without it pcie_beside_cpu_gb_per_s stays 0.
  std::function<void()> cpu_load;
  // Tiny sizes and two runs, to see that everything works; for the emulation.
  bool quick = false;
};

// Of device 0; all fields but `measured`. Errors: UNAVAILABLE without a GPU or in a build without
// CUDA, RESOURCE_EXHAUSTED for memory, whatever the device reports.
absl::StatusOr<GpuSpec> MeasureGpu(const GpuMeasureOptions& options);
// The same sources under emulation on the CPU: for tests, the rates say nothing. In a library of
// its own, tandem_gpu_probes_emulated.
absl::StatusOr<GpuSpec> MeasureEmulatedGpu(const GpuMeasureOptions& options);

}  // namespace tandem
