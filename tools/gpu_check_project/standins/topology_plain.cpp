// core/topology.h without hwloc: one node with the first hardware thread of every core, as /sys
// lists them.
#include "core/topology.h"

#include <sched.h>

#include <fstream>
#include <set>

namespace tandem {
namespace {

CpuTopology Detect() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof(allowed), &allowed);
  CpuNode node;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings;
    if (!(file >> siblings)) siblings = std::to_string(cpu);
    if (cores.insert(siblings).second) node.cpus.push_back(cpu);
  }
  return {.nodes = {node}};
}

}  // namespace

int CpuTopology::cores() const { return static_cast<int>(nodes[0].cpus.size()); }

const CpuTopology& DetectTopology() {
  static const CpuTopology topology = Detect();
  return topology;
}

absl::StatusOr<CpuTopology> SyntheticTopology(const std::string& description) {
  return absl::UnimplementedError("described topologies need hwloc");
}

double CpuQuota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota_us = 0, period_us = 0;
  return file >> quota_us >> period_us && period_us > 0 ? quota_us / period_us : 0;
}

}  // namespace tandem
