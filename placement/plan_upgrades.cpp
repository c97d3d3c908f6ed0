// What a little more hardware would bring: plans for the changed machines.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "placement/plan_limits.h"
#include "placement/plan_words.h"
#include "placement/planner.h"

namespace tandem {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;
constexpr double kChannelGbPerS = 38.4;  // of DDR5-4800, on paper

// Of a measured time as far as it waits for memory: not below what arithmetic takes, which the
// curve's last slope tells.
void Faster(double& seconds, double rows, double row_s, double factor) {
  seconds = std::min(seconds, std::max(seconds / factor, rows * row_s));
}

void ScaleCurve(ExpertCurve& curve, double factor) {
  const auto n = curve.points.size();
  const auto &last = curve.points[n - 1], &before = curve.points[n > 1 ? n - 2 : 0];
  const double row_s = n > 1 ? (last.seconds - before.seconds) / (last.rows - before.rows) : 0;
  for (auto& point : curve.points) Faster(point.seconds, point.rows, row_s, factor);
}

void ScaleCurve(DenseCurve& curve, double factor) {
  using Point = DenseCurve::Point;
  const std::vector<Point> old = curve.points;
  const auto n = old.size();
  for (double Point::*part : {&Point::attention_s, &Point::prefill_attention_s, &Point::dense_mlp_s,
                              &Point::moe_s, &Point::head_s}) {
    const double row_s =
        n > 1 ? (old[n - 1].*part - old[n - 2].*part) / (old[n - 1].rows - old[n - 2].rows) : 0;
    for (Point& point : curve.points) Faster(point.*part, point.rows, row_s, factor);
  }
}

Machine WithFasterMemory(Machine machine, double factor) {
  for (MachineNode& node : machine.nodes) {
    node.peak_gb_per_s *= factor;
    node.read_gb_per_s *= factor;
  }
  for (ExpertCurve& curve : machine.rates.experts) ScaleCurve(curve, factor);
  for (DenseCurve& curve : machine.rates.dense) ScaleCurve(curve, factor);
  return machine;
}

struct Change {
  std::string what;
  Machine machine;
};

std::vector<Change> Changes(const Machine& m, const Plan& plan) {
  std::vector<Change> changes;
  if (plan.gpu) {
    for (const int64_t gib : {1, 16}) {
      Machine more = m;
      more.gpu->memory_bytes += gib * kGib;
      changes.push_back({absl::StrCat(gib, " GiB more GPU memory"), std::move(more)});
    }
  }
  if (plan.disk_experts() > 0) {
    for (const int64_t gib : {1, 64})
      changes.push_back({absl::StrCat(gib, " GiB more RAM"), WithMoreRam(m, gib * kGib)});
    Machine faster = m;
    faster.rates.disk_gb_per_s *= 2;
    changes.push_back({"a disk twice as fast", std::move(faster)});
  }
  if (const double peak = m.peak_gb_per_s(); peak > 0) {
    const int sockets = std::max(1, m.sockets);
    changes.push_back({"one more memory channel per socket",
                       WithFasterMemory(m, 1 + sockets * kChannelGbPerS / peak)});
  } else {
    changes.push_back({"memory faster by a tenth", WithFasterMemory(m, 1.1)});
  }
  if (plan.gpu) {
    Machine wider = m;
    wider.gpu->pcie_gb_per_s *= 2;
    wider.gpu->pcie_beside_cpu_gb_per_s *= 2;
    changes.push_back({"PCIe twice as fast", std::move(wider)});
  }
  return changes;
}

// The point that plans are compared at: all sequences, full context.
const RatePoint* Reference(const Plan& plan) {
  for (const RatePoint& point : plan.rates_at)
    if (point.batch == plan.goals.concurrency && point.context == plan.goals.context) return &point;
  return nullptr;
}

std::string NoteOf(const Plan& before, const Plan& after) {
  const int64_t hot = after.hot_experts() - before.hot_experts();
  const int64_t disk = before.disk_experts() - after.disk_experts();
  if (hot > 0) return absl::StrCat(Grouped(hot), " more hot experts");
  if (disk > 0) return absl::StrCat(Grouped(disk), " fewer on the disk");
  if (after.prefill.chunk_tokens > before.prefill.chunk_tokens)
    return absl::StrCat("prompt steps of ", Grouped(after.prefill.chunk_tokens), " tokens");
  return "";
}

}  // namespace

std::vector<Upgrade> NextUpgrades(const ModelShape& shape, const ModelIdentity& identity,
                                  const Machine& machine, const ExpertProfile* profile,
                                  const PlanGoals& goals) {
  const auto now = MakePlan(shape, identity, machine, profile, goals);
  if (!now.ok()) return {};
  const RatePoint* before = Reference(*now);
  std::vector<Upgrade> upgrades;
  for (const Change& change : Changes(machine, *now)) {
    const auto then = MakePlan(shape, identity, change.machine, profile, goals);
    const RatePoint* after = then.ok() ? Reference(*then) : nullptr;
    if (before == nullptr || after == nullptr) continue;
    upgrades.push_back({.what = change.what,
                        .decode_gain = after->decode_tok_per_s / before->decode_tok_per_s - 1,
                        .prefill_gain = after->prefill_tok_per_s / before->prefill_tok_per_s - 1,
                        .note = NoteOf(*now, *then)});
  }
  return upgrades;
}

}  // namespace tandem
