#include "placement/machine.h"

#include <hwloc.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "core/worker_team.h"
#include "placement/machine_topology.h"

namespace tandem {
namespace {

// A "Name:   123 kB" line of /proc/meminfo, in bytes; 0 if absent.
int64_t MeminfoBytes(const std::string& name) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    int64_t kib = 0;
    if (words >> key >> kib && key == name + ":") return kib * 1024;
  }
  return 0;
}

// A file holding one number ("max" and absent give 0).
int64_t NumberIn(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : 0;
}

// The word in brackets of "always [madvise] never".
std::string ChosenWord(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  const size_t open = line.find('['), close = line.find(']');
  return close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

void ApplyContainerLimit(Machine& machine) {
  const int64_t limit = NumberIn("/sys/fs/cgroup/memory.max");
  if (limit <= 0 || limit >= machine.memory_bytes) return;
  machine.memory_bytes = limit;
  const int64_t left = limit - NumberIn("/sys/fs/cgroup/memory.current");
  machine.available_bytes = std::clamp<int64_t>(left, 0, machine.available_bytes);
}

void ReadThisTopology(Machine& machine) {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology) != 0) return;
  if (hwloc_topology_load(topology) == 0) ReadTopology(topology, machine);
  hwloc_topology_destroy(topology);
}

}  // namespace

void ReadTopology(hwloc_topology* topology, Machine& machine) {
  machine.sockets = std::max(1, hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PACKAGE));
  machine.hardware_threads = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
  for (hwloc_obj_t l3 = nullptr;
       (l3 = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_L3CACHE, l3)) != nullptr;)
    machine.l3_bytes += static_cast<int64_t>(l3->attr->cache.size);
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    MachineNode entry;
    entry.os_index = static_cast<int32_t>(node->os_index);
    entry.cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, node->cpuset, HWLOC_OBJ_CORE);
    entry.memory_bytes = static_cast<int64_t>(node->attr->numanode.local_memory);
    machine.nodes.push_back(entry);
  }
}

double Machine::peak_gb_per_s() const {
  double sum = 0;
  for (const MachineNode& node : nodes) sum += node.peak_gb_per_s;
  return sum;
}

double Machine::read_gb_per_s() const {
  double sum = 0;
  for (const MachineNode& node : nodes) sum += node.read_gb_per_s;
  return sum;
}

Machine DetectMachine() {
  Machine machine;
  machine.name = "this machine";
  machine.cpu = DetectCpu();
  machine.cores = PhysicalCores();
  machine.memory_bytes = MeminfoBytes("MemTotal");
  machine.available_bytes = MeminfoBytes("MemAvailable");
  machine.swap_used_bytes = MeminfoBytes("SwapTotal") - MeminfoBytes("SwapFree");
  machine.transparent_huge_pages = ChosenWord("/sys/kernel/mm/transparent_hugepage/enabled");
  ApplyContainerLimit(machine);
  ReadThisTopology(machine);
  return machine;
}

}  // namespace tandem
