#include "placement/machine_topology.h"

#include <hwloc.h>

#include <memory>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

// What hwloc gives a node of which nothing is said.
constexpr int64_t kUnsaidBytes = int64_t{1} << 30;

struct Destroy {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};

}  // namespace

absl::Status ReadSyntheticTopology(const std::string& description, Machine& machine) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return absl::InternalError("hwloc does not start");
  const std::unique_ptr<hwloc_topology, Destroy> topology(raw);
  if (hwloc_topology_set_synthetic(raw, description.c_str()) != 0 ||
      hwloc_topology_load(raw) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", description, "\" is no hwloc synthetic description; one is \"numa:2 core:48 pu:2\""));
  }
  ReadTopology(raw, machine);
  machine.cores = 0;
  for (MachineNode& node : machine.nodes) {
    machine.cores += node.cores;
    if (node.memory_bytes == kUnsaidBytes) node.memory_bytes = 0;
  }
  if (machine.cores < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", description, "\" describes no cores in its NUMA nodes"));
  }
  return absl::OkStatus();
}

}  // namespace tandem
