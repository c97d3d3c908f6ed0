#include "placement/plan_limits.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

constexpr int64_t kMostTenths = 100'000;  // looked for
constexpr int64_t kStep = 100'000'000;    // amounts are told in tenths of a GB

std::string GbText(int64_t bytes) {
  return absl::StrFormat("%.1f GB", (bytes + kStep - 1) / kStep * 0.1);
}

// The least n of [low, high] with fits(n), which holds for all larger ones too; -1 if none.
int64_t Least(int64_t low, int64_t high, const std::function<bool(int64_t)>& fits) {
  if (!fits(high)) return -1;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (fits(middle))
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

class Remedies {
 public:
  Remedies(const ModelShape& shape, const Machine& machine, const PlanGoals& goals)
      : shape_(shape), machine_(machine), goals_(goals) {}

  std::vector<std::string> All() {
    ShorterContext();
    FewerSequences();
    Int8();
    MoreGpuMemory();
    MoreRam();
    Disk();
    return std::move(texts_);
  }

 private:
  bool FitsWith(const Machine& machine, const PlanGoals& goals) const {
    return Fits(shape_, machine, goals);
  }

  void ShorterContext() {
    // Pages of 64 tokens: the most of them, as the least number to give up.
    const int64_t pages = (goals_.context - 1) / 64;
    if (pages < 1) return;
    PlanGoals goals = goals_;
    const int64_t given_up = Least(0, pages - 1, [&](int64_t n) {
      goals.context = (pages - n) * 64;
      return FitsWith(machine_, goals);
    });
    if (given_up >= 0)
      texts_.push_back(absl::StrCat("a context of ", (pages - given_up) * 64, " tokens"));
  }

  void FewerSequences() {
    if (goals_.concurrency < 2) return;
    PlanGoals goals = goals_;
    const int64_t given_up = Least(1, goals_.concurrency - 1, [&](int64_t n) {
      goals.concurrency = static_cast<int32_t>(goals_.concurrency - n);
      return FitsWith(machine_, goals);
    });
    if (given_up < 0) return;
    const int64_t n = goals_.concurrency - given_up;
    texts_.push_back(absl::StrCat(n, n == 1 ? " sequence" : " sequences", " at once"));
  }

  void Int8() {
    if (goals_.weight_bits == 8) return;
    PlanGoals goals = goals_;
    goals.weight_bits = 8;
    if (FitsWith(machine_, goals))
      texts_.push_back("an INT8 dense side (--dense-dtype int8, without a GPU)");
  }

  void MoreGpuMemory() {
    if (!goals_.use_gpu) return;
    Machine machine = machine_;
    const int64_t now = machine_.gpu ? machine_.gpu->memory_bytes / kStep : 0;
    if (!machine.gpu) machine.gpu.emplace();
    const int64_t n = Least(now + 1, now + 20'000, [&](int64_t tenths) {
      machine.gpu->memory_bytes = tenths * kStep;
      return FitsWith(machine, goals_);
    });
    if (n >= 0) texts_.push_back(absl::StrCat("a GPU with ", GbText(n * kStep)));
  }

  void MoreRam() {
    const int64_t n = Least(1, kMostTenths, [&](int64_t tenths) {
      return FitsWith(WithMoreRam(machine_, tenths * kStep), goals_);
    });
    if (n >= 0) texts_.push_back(absl::StrCat(GbText(n * kStep), " more RAM"));
  }

  void Disk() {
    if (machine_.rates.disk_gb_per_s > 0) return;
    Machine machine = machine_;
    machine.rates.disk_gb_per_s = 1;
    if (FitsWith(machine, goals_))
      texts_.push_back("an NVMe disk to read the least used experts from");
  }

  const ModelShape& shape_;
  const Machine& machine_;
  const PlanGoals& goals_;
  std::vector<std::string> texts_;
};

}  // namespace

Machine WithMoreRam(Machine machine, int64_t bytes) {
  int64_t nodes = 0;
  for (const MachineNode& node : machine.nodes) nodes += node.memory_bytes;
  for (MachineNode& node : machine.nodes) {
    const double share = nodes > 0 ? static_cast<double>(node.memory_bytes) / nodes : 0;
    node.memory_bytes += static_cast<int64_t>(static_cast<double>(bytes) * share);
  }
  if (machine.memory_bytes > 0) machine.memory_bytes += bytes;
  if (machine.available_bytes > 0) machine.available_bytes += bytes;
  return machine;
}

bool Fits(const ModelShape& shape, const Machine& machine, const PlanGoals& goals) {
  return std::ranges::any_of(PlacementOptions(shape, machine, goals), [&](const auto& option) {
    return PlanMemory(shape, machine, goals, option).fits();
  });
}

std::string MissingText(const ModelShape& shape, const Machine& machine, const PlanGoals& goals,
                        const PlacementOption& option) {
  std::vector<std::string> parts;
  Machine larger = machine;
  const int64_t gpu_bytes = PlanMemory(shape, machine, goals, option).missing_gpu_bytes;
  if (gpu_bytes > 0) {
    parts.push_back(GbText(gpu_bytes) + " of GPU memory");
    larger.gpu->memory_bytes += (gpu_bytes + kStep - 1) / kStep * kStep;
  }
  const int64_t tenths = Least(0, kMostTenths, [&](int64_t n) {
    return PlanMemory(shape, WithMoreRam(larger, n * kStep), goals, option).fits();
  });
  if (tenths != 0) parts.push_back(GbText(tenths * kStep) + " of RAM");
  return absl::StrJoin(parts, " and ");
}

absl::Status DoesNotFit(const ModelShape& shape, const Machine& machine, const PlanGoals& goals) {
  std::vector<std::string> missing;
  bool gpu_told = false, cpu_told = false;  // of each, the preferred option
  for (const PlacementOption& option : PlacementOptions(shape, machine, goals)) {
    bool& told = option.gpu ? gpu_told : cpu_told;
    if (told) continue;
    told = true;
    const char* where = option.gpu ? " with the GPU" : machine.gpu ? " without the GPU" : "";
    missing.push_back(
        absl::StrCat(MissingText(shape, machine, goals, option), " are missing", where));
  }
  const std::vector<std::string> remedies = Remedies(shape, machine, goals).All();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the model does not fit ", machine.name.starts_with("this") ? "" : "machine ", machine.name,
      " with ", goals.context, " tokens for each of ", goals.concurrency,
      goals.concurrency == 1 ? " sequence: " : " sequences: ", absl::StrJoin(missing, ", "),
      remedies.empty() ? "; nothing else alone would make it fit"
                       : "; it would fit with " + absl::StrJoin(remedies, ", or with ")));
}

}  // namespace tandem
