// Calibrations kept from run to run: one JSON file per hardware.
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/log.h"
#include "placement/machine_file.h"
#include "placement/rates_fields.h"
#include "placement/replace_file.h"

namespace tandem {
namespace {

constexpr int64_t kVersion = 1;
constexpr int64_t kGib = int64_t{1} << 30;

// What a calibration file holds.
struct Kept {
  int64_t version = kVersion;
  std::string id, cpu;  // cpu: for whoever looks into the file
  std::vector<MachineNode> nodes;
  GpuSpec gpu;
  MachineRates rates;
};

template <class Visitor>
void KeptFields(Visitor& v, Kept& kept) {
  v.Whole("version", kept.version, kVersion, kVersion);
  v.Text("id", kept.id);
  v.Text("cpu", kept.cpu);
  v.Objects("nodes", kept.nodes, [](auto& n, MachineNode& node) {
    n.Whole("os_index", node.os_index, 0, 4096);
    n.Number("read_gb_per_s", node.read_gb_per_s, 0, kMostGbPerS);
  });
  if (Visitor::kReads ? v.Has("gpu") : !kept.gpu.name.empty())
    v.Object("gpu", kept.gpu, [](auto& g, GpuSpec& gpu) { GpuFields(g, gpu); });
  v.Object("rates", kept.rates, [](auto& r, MachineRates& rates) { RatesFields(r, rates); });
}

// Of what stays the same from start to start: not of free memory, nor of what a container grants.
std::string HardwareId(const Machine& machine) {
  std::string text = absl::StrCat(machine.cpu.brand, "|", Describe(machine.cpu), "|",
                                  machine.sockets, "|", machine.cores);
  for (const MachineNode& node : machine.nodes) {
    absl::StrAppend(&text, "|", node.os_index, ":", node.cores, ":",
                    (node.memory_bytes + kGib / 2) / kGib);
  }
  absl::StrAppend(&text, "|", machine.gpu ? machine.gpu->name : "");
  return absl::StrFormat("%016x", XXH3_64bits(text.data(), text.size()));
}

// NOT_FOUND if there is no calibration yet.
absl::StatusOr<Kept> ReadKept(const std::string& path, const std::string& id) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": no calibration"));
  std::ostringstream text;
  text << file.rdbuf();
  TANDEM_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text.str(), path));
  Kept kept;
  kept.version = 0;
  absl::Status status;
  JsonReader reader(json, path, status);
  KeptFields(reader, kept);
  reader.End();
  if (status.ok() && kept.version != kVersion)
    reader.Fail("version", absl::StrCat(kVersion), "none");
  if (status.ok() && kept.id != id) reader.Fail("id", id, kept.id);
  TANDEM_RETURN_IF_ERROR(status);
  return kept;
}

// The calibration kept for the machine; a file that cannot be used is as good as none.
std::optional<Kept> TakeKept(const Machine& machine) {
  auto kept = ReadKept(CalibrationPath(machine), machine.id);
  if (kept.ok()) return *std::move(kept);
  if (!absl::IsNotFound(kept.status()))
    LogWarning("the calibration is not used; tandem doctor --calibrate makes a new one: {}",
               std::string(kept.status().message()));
  return std::nullopt;
}

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string CacheFolder() {
  if (const std::string own = FromEnvironment("TANDEM_CACHE"); !own.empty()) return own;
  const std::string xdg = FromEnvironment("XDG_CACHE_HOME");
  if (!xdg.empty()) return absl::StrCat(xdg, "/tandem");
  const std::string home = FromEnvironment("HOME");
  return absl::StrCat(home.empty() ? "." : home, "/.cache/tandem");
}

// What was not measured this time: curves of other shapes, other rates, the GPU.
void KeepOthers(const Kept& before, Kept& kept) {
  if (kept.gpu.measured.empty() && !before.gpu.measured.empty() && kept.gpu.name == before.gpu.name)
    kept.gpu = before.gpu;
  const MachineRates& others = before.rates;
  MachineRates& rates = kept.rates;
  if (rates.disk_gb_per_s == 0) rates.disk_gb_per_s = others.disk_gb_per_s;
  if (rates.cross_node_gb_per_s == 0) rates.cross_node_gb_per_s = others.cross_node_gb_per_s;
  for (const ExpertCurve& curve : others.experts)
    if (rates.FindExperts(curve.hidden, curve.intermediate) == nullptr)
      rates.experts.push_back(curve);
  for (const DenseCurve& curve : others.dense)
    if (rates.FindDense(curve.key) == nullptr) rates.dense.push_back(curve);
}

}  // namespace

std::string CalibrationPath(const Machine& machine) {
  return absl::StrCat(CacheFolder(), "/calibration-",
                      machine.id.empty() ? HardwareId(machine) : machine.id, ".json");
}

absl::Status SaveCalibration(const Machine& machine) {
  const std::string path = CalibrationPath(machine);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error)
    return absl::UnavailableError(
        absl::StrCat(path, ": its folder cannot be made: ", error.message()));
  Kept kept;
  kept.id = machine.id.empty() ? HardwareId(machine) : machine.id;
  kept.cpu = machine.cpu.brand;
  kept.nodes = machine.nodes;
  kept.rates = machine.rates;
  if (machine.gpu) kept.gpu = *machine.gpu;
  if (const auto before = ReadKept(path, kept.id); before.ok()) KeepOthers(*before, kept);
  JsonWriter writer;
  KeptFields(writer, kept);
  return ReplaceFile(path, writer.ToText());
}

Machine ThisMachine(const std::optional<GpuSpec>& gpu) {
  Machine machine = DetectMachine();
  machine.gpu = gpu;
  machine.id = HardwareId(machine);
  if (const std::optional<Kept> kept = TakeKept(machine)) {
    machine.rates = kept->rates;
    for (const MachineNode& rate : kept->nodes)
      for (MachineNode& node : machine.nodes)
        if (node.os_index == rate.os_index) node.read_gb_per_s = rate.read_gb_per_s;
    if (machine.gpu && kept->gpu.name == machine.gpu->name) {
      const int64_t memory_bytes = machine.gpu->memory_bytes;
      machine.gpu = kept->gpu;
      if (memory_bytes > 0) machine.gpu->memory_bytes = memory_bytes;
    }
  }
  GuessRates(machine);
  if (machine.gpu) GuessGpuRates(*machine.gpu);
  return machine;
}

}  // namespace tandem
