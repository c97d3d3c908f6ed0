// What hwloc knows of a machine, found or described. Private to the folder.
#pragma once

#include <string>

#include "core/status.h"
#include "placement/machine.h"

struct hwloc_topology;

namespace tandem {

// Sockets, hardware threads, caches and nodes of a loaded topology.
void ReadTopology(hwloc_topology* topology, Machine& machine);
// The same of a synthetic description such as "numa:2 core:48 pu:2"; cores, too. Nodes have no
// memory unless it says so, as in "numa:2(memory=768GB)". INVALID_ARGUMENT quoting it.
absl::Status ReadSyntheticTopology(const std::string& description, Machine& machine);

}  // namespace tandem
