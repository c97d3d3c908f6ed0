#include "core/topology.h"

#include <hwloc.h>
#include <sched.h>

#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

struct TopologyDeleter {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
using HwlocTopology = std::unique_ptr<hwloc_topology, TopologyDeleter>;

HwlocTopology NewTopology() {
  hwloc_topology_t topology = nullptr;
  return HwlocTopology(hwloc_topology_init(&topology) == 0 ? topology : nullptr);
}

// First hardware thread of every core of `cpuset` that `allowed` (null: everything) holds.
std::vector<int> CoreCpus(hwloc_topology_t topology, hwloc_const_cpuset_t cpuset,
                          const cpu_set_t* allowed) {
  std::vector<int> cpus;
  const int cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, cpuset, HWLOC_OBJ_CORE);
  for (int i = 0; i < cores; ++i) {
    const hwloc_obj_t core =
        hwloc_get_obj_inside_cpuset_by_type(topology, cpuset, HWLOC_OBJ_CORE, i);
    int cpu = hwloc_bitmap_first(core->cpuset);
    while (cpu >= 0 && allowed != nullptr && !CPU_ISSET(cpu, allowed))
      cpu = hwloc_bitmap_next(core->cpuset, cpu);
    if (cpu >= 0) cpus.push_back(cpu);
  }
  return cpus;
}

// Nodes with cores of their own: a second node over the same cores (HBM) adds memory only.
std::vector<CpuNode> ReadNodes(hwloc_topology_t topology, const cpu_set_t* allowed) {
  std::vector<CpuNode> nodes;
  std::unique_ptr<hwloc_bitmap_s, decltype(&hwloc_bitmap_free)> seen(hwloc_bitmap_alloc(),
                                                                     &hwloc_bitmap_free);
  const int n = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
  for (int i = 0; i < n; ++i) {
    const hwloc_obj_t node = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, i);
    if (hwloc_bitmap_intersects(seen.get(), node->cpuset)) continue;
    hwloc_bitmap_or(seen.get(), seen.get(), node->cpuset);
    std::vector<int> cpus = CoreCpus(topology, node->cpuset, allowed);
    if (!cpus.empty()) nodes.push_back({{static_cast<int32_t>(node->os_index)}, std::move(cpus)});
  }
  return nodes;
}

CpuTopology Detect() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof(allowed), &allowed);
  CpuTopology found;
  const HwlocTopology topology = NewTopology();
  if (topology != nullptr && hwloc_topology_load(topology.get()) == 0)
    found.nodes = ReadNodes(topology.get(), &allowed);
  if (found.nodes.empty()) found.nodes.push_back({{}, {sched_getcpu()}});
  return found;
}

}  // namespace

int CpuTopology::cores() const {
  size_t sum = 0;
  for (const CpuNode& node : nodes) sum += node.cpus.size();
  return static_cast<int>(sum);
}

const CpuTopology& DetectTopology() {
  static const CpuTopology topology = Detect();
  return topology;
}

absl::StatusOr<CpuTopology> SyntheticTopology(const std::string& description) {
  const HwlocTopology topology = NewTopology();
  if (topology == nullptr ||
      hwloc_topology_set_synthetic(topology.get(), description.c_str()) != 0 ||
      hwloc_topology_load(topology.get()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", description,
                     "\" is not an hwloc synthetic topology; expected something like "
                     "\"numa:2 core:4 pu:2\""));
  }
  CpuTopology found;
  found.synthetic = true;
  found.nodes = ReadNodes(topology.get(), nullptr);
  if (found.nodes.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the topology \"", description, "\" has no cores"));
  }
  return found;
}

double CpuQuota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  double quota_us = 0, period_us = 0;
  if (v2 >> quota_us >> period_us && period_us > 0) return quota_us / period_us;
  std::ifstream quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota >> quota_us && period >> period_us && quota_us > 0 && period_us > 0)
    return quota_us / period_us;
  return 0;
}

}  // namespace tandem
