// What this machine is: processors, NUMA nodes, memory, and how the system is set up for us.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/cpu_features.h"

namespace tandem {

struct MachineNode {
  int32_t os_index = 0;
  int32_t cores = 0;
  int64_t memory_bytes = 0;
};

struct Machine {
  CpuFeatures cpu;
  int32_t sockets = 0;
  int32_t cores = 0;  // physical cores this process may use
  int32_t hardware_threads = 0;
  std::vector<MachineNode> nodes;
  int64_t l3_bytes = 0;      // of all sockets together
  int64_t memory_bytes = 0;  // RAM, or the container's limit where that is lower
  int64_t available_bytes = 0;
  int64_t swap_used_bytes = 0;
  std::string transparent_huge_pages;  // "always", "madvise" or "never"
};

// Asks hwloc and /proc; never fails, leaves zero what it cannot find.
Machine DetectMachine();

}  // namespace tandem
