// The processors this process may use, NUMA node by NUMA node: what worker teams are made from.
#pragma once

#include <string>
#include <vector>

#include "core/ids.h"
#include "core/status.h"

namespace tandem {

// A NUMA node with processors.
struct CpuNode {
  NumaNode id;            // the system's number
  std::vector<int> cpus;  // the first hardware thread of each physical core, ascending
};

struct CpuTopology {
  std::vector<CpuNode> nodes;  // at least one, none without processors
  bool synthetic = false;      // described, not found: threads are not pinned, memory not bound

  int cores() const;
};

// This machine, within the process's affinity mask. Detected once; never fails: a machine that
// hwloc cannot read is one node. Nodes of memory only (CXL, or HBM beside a node's DRAM) are left
// out.
const CpuTopology& DetectTopology();

// A machine written as an hwloc synthetic description, such as "numa:2 core:4 pu:2". For planning
// and for tests of what several nodes do. Errors: INVALID_ARGUMENT quoting the description.
absl::StatusOr<CpuTopology> SyntheticTopology(const std::string& description);

// Processors' worth of time that the container grants this process; 0 when it sets no limit.
double CpuQuota();

}  // namespace tandem
