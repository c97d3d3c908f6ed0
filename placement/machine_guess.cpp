// What is assumed of a machine until somebody measures it.
#include <algorithm>
#include <iterator>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "placement/machine_file.h"

namespace tandem {
namespace {

// The experts' kernel is to reach this share of a memory's paper rate (docs/performance.md).
constexpr double kReadShare = 0.85;
// A node of which no memory channels are known: what a core asks for, what a socket may have.
constexpr double kReadPerCore = 10, kReadPerNode = 200;

// Reached per core with many rows, and by the dense side. AVX2 was measured (Zen 3). AVX-512: 0.62
// of the VNNI peak at 2.5 GHz, as projected in docs/performance.md. AMX: 35 TOPS a socket of 36
// cores, published for another engine's kernels.
struct CoreRates {
  double expert_gops, dense_gflops;
};
CoreRates RatesPerCore(const CpuFeatures& cpu) {
  if (cpu.amx_int8) return {970, 120};
  if (cpu.avx512_vnni) return {400, 120};
  if (cpu.avx512) return {300, 120};
  if (cpu.avx_vnni) return {250, 56};
  if (cpu.avx2) return {180, 56};
  return {5, 2};
}

void Fill(double& value, double guess, bool& guessed) {
  if (value > 0) return;
  value = guess;
  guessed = true;
}

// Figures of data sheets. BF16 products with FP32 sums, without sparsity.
struct Card {
  const char* name;  // all words of it must be in the GPU's
  double memory_gib, hbm_gb_per_s, bf16_tflops;
  int pcie;
};
constexpr Card kCards[] = {
    {"h200", 140.4, 4800, 989, 5},          {"h100 nvl", 93.6, 3938, 835, 5},
    {"h100 pcie", 79.6, 2039, 756, 5},      {"h100", 79.6, 3352, 989, 5},
    {"a100 80gb pcie", 79.3, 1935, 312, 4}, {"a100 80gb", 79.3, 2039, 312, 4},
    {"a100", 39.4, 1555, 312, 4},           {"rtx pro 6000", 95.6, 1792, 503, 5},
    {"rtx 6000 ada", 48.0, 960, 364, 4},    {"5090", 31.8, 1792, 209, 5},
    {"4090", 24.0, 1008, 165, 4},           {"3090", 24.0, 936, 71, 4},
};
constexpr Card kUnknownCard = {"", 0, 900, 70, 4};

bool HasAllWords(const std::string& name, std::string words) {
  for (size_t begin = 0; begin < words.size();) {
    const size_t end = std::min(words.find(' ', begin), words.size());
    if (!absl::StrContains(name, words.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return true;
}

const Card& FindCard(const std::string& gpu_name) {
  const std::string name = absl::AsciiStrToLower(gpu_name);
  const auto* card =
      std::ranges::find_if(kCards, [&](const Card& c) { return HasAllWords(name, c.name); });
  return card == std::end(kCards) ? kUnknownCard : *card;
}

}  // namespace

void GuessRates(Machine& machine) {
  MachineRates& rates = machine.rates;
  bool guessed = false;
  for (MachineNode& node : machine.nodes) {
    const double guess = node.peak_gb_per_s > 0
                             ? kReadShare * node.peak_gb_per_s
                             : std::min(kReadPerCore * std::max(node.cores, 1), kReadPerNode);
    Fill(node.read_gb_per_s, guess, guessed);
  }
  const double cores = std::max(machine.cores, 1);
  const CoreRates per_core = RatesPerCore(machine.cpu);
  Fill(rates.expert_gops, cores * per_core.expert_gops, guessed);
  Fill(rates.dense_gflops, cores * per_core.dense_gflops, guessed);
  Fill(rates.dispatch_us, 0.1 + 0.04 * cores, guessed);
  Fill(rates.step_us, 3, guessed);
  Fill(rates.row_us, 2, guessed);
  if (machine.nodes.size() > 1) {
    const double a_node = machine.read_gb_per_s() / static_cast<double>(machine.nodes.size());
    Fill(rates.cross_node_gb_per_s, 0.4 * a_node, guessed);
  }
  Fill(rates.disk_gb_per_s, 3, guessed);
  if (guessed && rates.source == MachineRates::Source::kUnknown)
    rates.source = MachineRates::Source::kGuessed;
}

void GuessGpuRates(GpuSpec& spec) {
  // HBM: 78 to 84 % of paper is published for weight reads. Large BF16 products reach two thirds;
  // experts 45 %, the goal of docs/performance.md. PCIe: 55.6 of 64 GB/s and 26 of 32 published.
  const Card& card = FindCard(spec.name);
  const bool gen5 = card.pcie == 5;
  const auto fill = [](double& value, double guess) {
    if (value <= 0) value = guess;
  };
  if (spec.memory_bytes <= 0)
    spec.memory_bytes = static_cast<int64_t>(card.memory_gib * 1073741824.0);
  fill(spec.hbm_gb_per_s, 0.82 * card.hbm_gb_per_s);
  fill(spec.bf16_tflops, 0.66 * card.bf16_tflops);
  fill(spec.int4_tflops, 0.45 * card.bf16_tflops);
  fill(spec.pcie_gb_per_s, gen5 ? 54 : 25);
  fill(spec.pcie_beside_cpu_gb_per_s, gen5 ? 45 : 22);
  fill(spec.handoff_us, 30);
}

}  // namespace tandem
