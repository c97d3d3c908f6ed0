// A machine: processors, NUMA nodes, memory, GPU, how fast they are, and how the system is set up
// for us. This one (DetectMachine), or one that is only described (machine_file.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/cpu_features.h"
#include "placement/machine_rates.h"

namespace tandem {

struct MachineNode {
  int32_t os_index = 0;
  int32_t cores = 0;
  int64_t memory_bytes = 0;
  double peak_gb_per_s = 0;  // of its memory channels, on paper; 0: unknown
  double read_gb_per_s = 0;  // its cores reading its memory with the experts' kernel; 0: unknown
};

struct GpuSpec {
  std::string name;
  int64_t memory_bytes = 0;
  double hbm_gb_per_s = 0;              // reached when reading weights
  double bf16_tflops = 0;               // reached by large products
  double int4_tflops = 0;               // reached by experts with many rows
  double pcie_gb_per_s = 0;             // from page-locked memory, nothing else going on
  double pcie_beside_cpu_gb_per_s = 0;  // while the CPU's experts read RAM
  double handoff_us = 0;                // rows to the CPU and sums back, the work itself left out
  std::string measured = "";  // when, UTC, if the rates were measured on this card; else ""
};

struct Machine {
  std::string name;   // "this machine", or as its file says
  std::string notes;  // of a described machine: where its figures come from
  std::string id;     // of the hardware: calibrations are kept under it; "" for a described machine
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
  std::optional<GpuSpec> gpu;          // the one that is used
  MachineRates rates;

  double peak_gb_per_s() const;  // of all nodes
  double read_gb_per_s() const;  // of all nodes
};

// Asks hwloc and /proc; never fails, leaves zero what it cannot find. GPU and rates are not filled
// in: see machine_file.h for what is known of them.
Machine DetectMachine();

}  // namespace tandem
