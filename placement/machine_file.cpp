#include "placement/machine_file.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "placement/machine_topology.h"
#include "placement/rates_fields.h"

namespace tandem {
namespace {

constexpr int64_t kMostCores = 4096;

struct Feature {
  const char* name;
  bool CpuFeatures::*member;
};
constexpr Feature kFeatures[] = {{"avx2", &CpuFeatures::avx2},
                                 {"avx_vnni", &CpuFeatures::avx_vnni},
                                 {"avx512", &CpuFeatures::avx512},
                                 {"avx512_vnni", &CpuFeatures::avx512_vnni},
                                 {"avx512_bf16", &CpuFeatures::avx512_bf16},
                                 {"amx_int8", &CpuFeatures::amx_int8},
                                 {"amx_bf16", &CpuFeatures::amx_bf16}};

template <class Visitor>
void CpuFields(Visitor& v, CpuFeatures& cpu) {
  v.Text("brand", cpu.brand);
  std::string isa = Visitor::kReads ? "" : Describe(cpu);
  v.Text("isa", isa);
  if constexpr (Visitor::kReads) {
    for (const absl::string_view word : absl::StrSplit(isa, ' ', absl::SkipEmpty())) {
      const auto* feature =
          std::ranges::find_if(kFeatures, [&](const Feature& f) { return f.name == word; });
      if (feature != std::end(kFeatures)) {
        cpu.*feature->member = true;
      } else if (word != "baseline") {
        v.Fail("isa",
               "some of avx2, avx_vnni, avx512, avx512_vnni, avx512_bf16, amx_int8, amx_bf16",
               absl::StrCat("\"", word, "\""));
      }
    }
  }
}

template <class Visitor>
void NodeFields(Visitor& v, MachineNode& node) {
  v.Whole("os_index", node.os_index, 0, kMostCores);
  v.Whole("cores", node.cores, 0, kMostCores);
  GibField(v, "memory_gib", node.memory_bytes, kMostGib);
  v.Number("peak_gb_per_s", node.peak_gb_per_s, 0, kMostGbPerS);
  v.Number("read_gb_per_s", node.read_gb_per_s, 0, kMostGbPerS);
}

// "topology" and what every node of it has, instead of "nodes".
void ReadTopologyFields(JsonReader& v, Machine& machine) {
  std::string topology;
  MachineNode each;
  v.Text("topology", topology);
  GibField(v, "node_memory_gib", each.memory_bytes, kMostGib);
  v.Number("node_peak_gb_per_s", each.peak_gb_per_s, 0, kMostGbPerS);
  v.Number("node_read_gb_per_s", each.read_gb_per_s, 0, kMostGbPerS);
  if (topology.empty()) return;
  if (!machine.nodes.empty())
    return v.Fail("topology", "either nodes or a topology", absl::StrCat("\"", topology, "\""));
  const absl::Status status = ReadSyntheticTopology(topology, machine);
  if (!status.ok())
    return v.Fail("topology", "an hwloc synthetic description", absl::StrCat("\"", topology, "\""));
  for (MachineNode& node : machine.nodes) {
    if (node.memory_bytes == 0) node.memory_bytes = each.memory_bytes;
    node.peak_gb_per_s = each.peak_gb_per_s;
    node.read_gb_per_s = each.read_gb_per_s;
  }
}

template <class Visitor>
void MachineFields(Visitor& v, Machine& machine) {
  v.Text("name", machine.name);
  v.Text("notes", machine.notes);
  v.Text("id", machine.id);
  v.Object("cpu", machine.cpu, [](auto& c, CpuFeatures& cpu) { CpuFields(c, cpu); });
  v.Objects("nodes", machine.nodes, [](auto& n, MachineNode& node) { NodeFields(n, node); });
  if constexpr (Visitor::kReads) ReadTopologyFields(v, machine);
  v.Whole("sockets", machine.sockets, 1, 64);
  v.Whole("cores", machine.cores, 1, kMostCores);
  v.Whole("hardware_threads", machine.hardware_threads, 1, 8 * kMostCores);
  GibField(v, "l3_gib", machine.l3_bytes, kMostGib);
  GibField(v, "memory_gib", machine.memory_bytes, kMostGib);
  GibField(v, "available_gib", machine.available_bytes, kMostGib);
  v.Text("transparent_huge_pages", machine.transparent_huge_pages);
  if (Visitor::kReads ? v.Has("gpu") : machine.gpu.has_value()) {
    if (!machine.gpu) machine.gpu.emplace();
    v.Object("gpu", *machine.gpu, [](auto& g, GpuSpec& gpu) { GpuFields(g, gpu); });
  }
  const bool has_rates =
      v.Object("rates", machine.rates, [](auto& r, MachineRates& rates) { RatesFields(r, rates); });
  if (Visitor::kReads && has_rates && machine.rates.source == MachineRates::Source::kUnknown)
    machine.rates.source = MachineRates::Source::kSpecified;
}

// What follows from the nodes, unless it was said.
void Complete(JsonReader& v, Machine& machine) {
  if (machine.name.empty()) v.Fail("name", "a name", "none");
  if (machine.nodes.empty()) v.Fail("nodes", "a node or more, or a topology", "none");
  int64_t cores = 0, memory = 0;
  for (const MachineNode& node : machine.nodes) {
    cores += node.cores, memory += node.memory_bytes;
    const auto same = [&](const MachineNode& other) { return other.os_index == node.os_index; };
    if (std::ranges::count_if(machine.nodes, same) > 1)
      v.Fail("nodes", "nodes with different os_index", absl::StrCat("two with ", node.os_index));
  }
  if (machine.sockets == 0) machine.sockets = 1;
  if (machine.cores == 0) machine.cores = static_cast<int32_t>(cores);
  if (machine.hardware_threads == 0) machine.hardware_threads = machine.cores;
  if (machine.memory_bytes == 0) machine.memory_bytes = memory;
  if (machine.available_bytes == 0) machine.available_bytes = machine.memory_bytes;
  if (machine.transparent_huge_pages.empty()) machine.transparent_huge_pages = "madvise";
  if (machine.cores < 1 || machine.cores > cores)
    v.Fail("cores", absl::StrCat("from 1 to the nodes' ", cores), absl::StrCat(machine.cores));
  if (machine.memory_bytes < 1) v.Fail("memory_gib", "some memory, here or of the nodes", "none");
  if (machine.available_bytes > machine.memory_bytes)
    v.Fail("available_gib", "no more than memory_gib", "more");
}

}  // namespace

absl::StatusOr<Machine> ParseMachine(const std::string& text, const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text, path));
  Machine machine;
  absl::Status status;
  JsonReader reader(json, path, status);
  MachineFields(reader, machine);
  reader.End();
  if (status.ok()) Complete(reader, machine);
  TANDEM_RETURN_IF_ERROR(status);
  return machine;
}

std::string MachineToJson(const Machine& machine) {
  Machine copy = machine;
  JsonWriter writer;
  MachineFields(writer, copy);
  return writer.ToText();
}

}  // namespace tandem
