#include "engine/machine_here.h"

#include "gpu_attention/gpu_query.h"
#include "placement/machine_file.h"

namespace tandem {

Machine MachineHere() {
  const GpuQuery query = QueryGpus();
  if (query.gpus.empty()) return ThisMachine();
  const GpuInfo& gpu = query.gpus.front();
  return ThisMachine(GpuSpec{.name = gpu.name, .memory_bytes = gpu.memory_bytes});
}

}  // namespace tandem
