#include "engine/machine_here.h"

#include "gpu_attention/gpu_query.h"
#include "placement/machine_file.h"

namespace tandem {

std::optional<GpuSpec> FirstGpu() {
  const GpuQuery query = QueryGpus();
  if (query.gpus.empty()) return std::nullopt;
  GpuSpec gpu;
  gpu.name = query.gpus[0].name;
  gpu.memory_bytes = query.gpus[0].memory_bytes;
  return gpu;
}

Machine MachineHere() { return ThisMachine(FirstGpu()); }

}  // namespace tandem
