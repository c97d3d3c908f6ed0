// Where described machines come from: the program itself, files, hwloc's words.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/embedded_file.h"
#include "placement/machine_file.h"
#include "placement/machine_topology.h"

namespace tandem {

std::span<const EmbeddedFile> EmbeddedMachines();

namespace {

// Of a described server of which only the topology is said: eight channels of DDR5-4800.
constexpr double kServerNodeGbPerS = 307.2;
constexpr int64_t kServerNodeBytes = int64_t{512} << 30;

std::string NameOf(const EmbeddedFile& file) {
  return std::string(file.name.substr(0, file.name.rfind(".json")));
}

Machine Complete(Machine machine) {
  GuessRates(machine);
  if (machine.gpu) GuessGpuRates(*machine.gpu);
  return machine;
}

absl::StatusOr<Machine> FromText(const std::string& text, const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(Machine machine, ParseMachine(text, path));
  return Complete(std::move(machine));
}

absl::StatusOr<Machine> FromSynthetic(const std::string& description) {
  Machine machine;
  TANDEM_RETURN_IF_ERROR(ReadSyntheticTopology(description, machine));
  machine.name = description;
  machine.notes =
      "only the topology is known: memory is taken as 512 GiB and 8 channels of DDR5-4800 (307.2 "
      "GB/s) a node unless the description has it, instruction sets as AVX-512 with VNNI, rates "
      "are guesses";
  machine.cpu = {.avx2 = true, .avx512 = true, .avx512_vnni = true, .brand = "described"};
  for (MachineNode& node : machine.nodes) {
    if (node.memory_bytes == 0) node.memory_bytes = kServerNodeBytes;
    node.peak_gb_per_s = kServerNodeGbPerS;
    machine.memory_bytes += node.memory_bytes;
  }
  machine.available_bytes = machine.memory_bytes;
  machine.transparent_huge_pages = "madvise";
  return Complete(std::move(machine));
}

}  // namespace

std::vector<std::string> ShippedMachines() {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : EmbeddedMachines()) names.push_back(NameOf(file));
  std::ranges::sort(names);
  return names;
}

absl::StatusOr<Machine> LoadMachine(const std::string& name_or_path) {
  for (const EmbeddedFile& file : EmbeddedMachines())
    if (NameOf(file) == name_or_path) return FromText(std::string(file.text), name_or_path);
  std::error_code error;
  if (std::filesystem::is_regular_file(name_or_path, error)) {
    std::ifstream file(name_or_path, std::ios::binary);
    std::ostringstream text;
    if (!file || !(text << file.rdbuf()))
      return absl::UnavailableError(absl::StrCat(name_or_path, ": cannot be read, or is empty"));
    return FromText(text.str(), name_or_path);
  }
  // "numa:2 core:48"; a path may hold a colon, but ends in .json.
  if (absl::StrContains(name_or_path, ':') && !absl::EndsWith(name_or_path, ".json"))
    return FromSynthetic(name_or_path);
  return absl::NotFoundError(absl::StrCat(
      "no machine \"", name_or_path, "\": expected a file, an hwloc synthetic description such as ",
      "\"numa:2 core:48 pu:2\", or one of ", absl::StrJoin(ShippedMachines(), ", ")));
}

}  // namespace tandem
