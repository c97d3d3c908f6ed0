#include "placement/plan_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "placement/footprint.h"
#include "placement/memory_plan.h"
#include "placement/plan_words.h"

namespace tandem {
namespace {

constexpr size_t kWidth = 100;

std::string Gb(int64_t bytes) { return absl::StrFormat("%.2f GB", bytes * 1e-9); }

std::string Times(int64_t n, const char* one, const char* many) {
  return absl::StrCat(Grouped(n), " ", n == 1 ? one : many);
}

// Breaks at spaces; further lines are indented like the text of the first.
std::string Wrapped(const std::string& text, size_t indent) {
  std::string lines;
  size_t column = indent;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (column + word.size() + 1 > kWidth && column > indent) {
      absl::StrAppend(&lines, "\n", std::string(indent, ' '));
      column = indent;
    } else if (column > indent) {
      absl::StrAppend(&lines, " ");
      ++column;
    }
    absl::StrAppend(&lines, word);
    column += word.size();
  }
  return lines;
}

std::string MachineText(const PlanReport& r) {
  const Machine& m = r.machine;
  std::string text = absl::StrCat(m.name, ": ", m.cores, " cores, ",
                                  Times(std::max<int64_t>(1, std::ssize(m.nodes)), "node", "nodes"),
                                  ", ", Gb(m.memory_bytes), " RAM");
  if (m.read_gb_per_s() > 0) absl::StrAppendFormat(&text, " read at %.0f GB/s", m.read_gb_per_s());
  if (m.gpu) absl::StrAppend(&text, ", ", m.gpu->name, " ", Gb(m.gpu->memory_bytes));
  return absl::StrCat(text, "; rates ", r.plan.rates);
}

std::string GoalsText(const PlanGoals& goals) {
  return absl::StrCat(
      Grouped(goals.context), " tokens for ",
      goals.concurrency == 1 ? "one sequence"
                             : absl::StrCat("each of ", goals.concurrency, " sequences"),
      ", for ", goals.objective == PlanObjective::kLatency ? "latency" : "throughput",
      ", dense side ", goals.weight_bits == 8 ? "INT8" : "BF16");
}

void AppendHead(const PlanReport& r, std::string& out) {
  const auto line = [&](const char* name, const std::string& text) {
    absl::StrAppendFormat(&out, "%-10s%s\n", name, Wrapped(text, 10));
  };
  line("model", absl::StrCat(Describe(r.plan.model)));
  line("machine", MachineText(r));
  line("goals", GoalsText(r.plan.goals));
  line("profile", r.plan.profile.empty() ? "none" : r.plan.profile);
}

// Of a place, what plans may use.
int64_t UsableBytes(const PlanReport& r, const std::string& place) {
  const MemoryPlan memory = PlanMemory(r.shape, r.machine, r.plan.goals, {r.plan.gpu});
  if (place == "gpu") return memory.gpu_bytes;
  for (int i = 0; i < memory.nodes(); ++i)
    if (place == absl::StrCat("node ", i)) return memory.node_bytes[i];
  return 0;
}

void AppendBudget(const PlanReport& r, std::string& out) {
  std::vector<std::string> places;
  for (const BudgetLine& line : r.plan.budget)
    if (places.empty() || places.back() != line.place) places.push_back(line.place);
  absl::StrAppend(&out, "\nmemory\n");
  for (const std::string& place : places) {
    int64_t used = 0;
    for (const BudgetLine& line : r.plan.budget)
      if (line.place == place) used += line.bytes;
    const int64_t usable = UsableBytes(r, place);
    absl::StrAppendFormat(&out, "  %-38s%10s%s\n", place, Gb(used),
                          usable > 0 ? absl::StrCat("  of ", Gb(usable), " that may be used") : "");
    for (const BudgetLine& line : r.plan.budget) {
      if (line.place != place) continue;
      absl::StrAppendFormat(&out, "    %-36s%10s  %s\n", line.what, Gb(line.bytes),
                            Wrapped(line.why, 52));
    }
  }
}

// "16 to 31 in a layer"
std::string SpreadText(const Plan& plan) {
  int64_t least = plan.model.experts, most = 0;
  for (size_t l = plan.model.dense_layers; l < plan.hot.size(); ++l) {
    least = std::min<int64_t>(least, std::ssize(plan.hot[l]));
    most = std::max<int64_t>(most, std::ssize(plan.hot[l]));
  }
  return least == most ? absl::StrCat(most, " in every layer")
                       : absl::StrCat(least, " to ", most, " in a layer");
}

std::string HitText(const Plan& plan) {
  const char* basis = plan.hit_rate_held_out ? "on tokens held out of the ranking"
                      : plan.profile.empty() ? "if all are used alike"
                                             : "on the profile's own tokens";
  return absl::StrFormat("they take %.1f %% of what decoding routes, %.1f %% in prompts, %s",
                         100 * plan.decode_hit_rate, 100 * plan.prefill_hit_rate, basis);
}

std::string HomeText(const PlanReport& r) {
  if (r.machine.nodes.size() < 2) return "";
  if (r.plan.numa.empty()) return ", each cut over all nodes, so that no node waits for another";
  const auto& layer = r.plan.numa.back();
  return !layer.empty() && layer[0].home == NumaHome::kReplicated ? ", a copy of each on every node"
                                                                  : ", each whole on one node";
}

void AppendPlacement(const PlanReport& r, std::string& out) {
  const Plan& plan = r.plan;
  const int64_t all = int64_t{plan.model.moe_layers()} * plan.model.experts;
  const auto line = [&](const char* name, const std::string& text) {
    absl::StrAppendFormat(&out, "  %-14s%s\n", name, Wrapped(text, 16));
  };
  absl::StrAppend(&out, "\nplacement\n");
  line("dense side",
       plan.gpu ? "GPU: every token reads all of it, and the GPU reads fastest" : "CPU, in RAM");
  const int64_t hot = plan.hot_experts(), disk = plan.disk_experts();
  if (plan.gpu) {
    line("hot experts",
         hot == 0 ? "none"
                  : absl::StrCat(Grouped(hot), " of ", Grouped(all), " on the GPU (",
                                 absl::StrFormat("%.1f %%", 100.0 * hot / all), ", ",
                                 SpreadText(plan), "), by what each saves; ", HitText(plan)));
  }
  if (all > 0) {
    const int64_t ram = all - disk - (plan.hot_experts_leave_ram ? hot : 0);
    line("cold experts", absl::StrCat(Grouped(ram), " in RAM", HomeText(r)));
  }
  if (disk > 0) line("on the disk", absl::StrCat(Grouped(disk), ", the least used"));
  std::string prompts = absl::StrCat("steps of ", Grouped(plan.prefill.chunk_tokens), " tokens");
  if (plan.prefill.stream) {
    absl::StrAppend(&prompts,
                    "; experts with many rows are sent to the GPU, the rest stay on the CPU, so "
                    "that both end together");
    if (plan.prefill.break_even_tokens > 0)
      absl::StrAppend(&prompts, "; sending all of them beats the CPU alone from ",
                      Grouped(plan.prefill.break_even_tokens), " tokens on");
  }
  line("prompts", prompts);
}

void AppendRates(const Plan& plan, std::string& out) {
  absl::StrAppend(&out, "\npredicted decode: milliseconds of a step\n");
  absl::StrAppendFormat(&out, "  %5s %8s %7s | %6s %6s %6s %6s %6s %6s %6s | %s\n", "batch",
                        "context", "tok/s", "attn", "shared", "cold", "hot", "handof", "rest",
                        "all", "waits for");
  for (const RatePoint& p : plan.rates_at) {
    const StepTime& t = p.decode;
    absl::StrAppendFormat(
        &out, "  %5d %8s %7.1f | %6.2f %6.2f %6.1f %6.2f %6.2f %6.2f %6.1f | %s\n", p.batch,
        Grouped(p.context), p.decode_tok_per_s, t.attention_s * 1e3, t.shared_s * 1e3,
        t.cpu_experts_s * 1e3, t.hot_experts_s * 1e3, t.handoff_s * 1e3,
        (t.head_s + t.other_s) * 1e3, t.total_s * 1e3, t.limit);
  }
  absl::StrAppend(&out, "\npredicted prefill: seconds of a prompt\n");
  absl::StrAppendFormat(&out, "  %8s %7s | %7s %7s %7s %7s %7s %7s | %s\n", "prompt", "tok/s",
                        "attn", "shared", "cold", "hot", "PCIe", "all", "waits for");
  int64_t told = -1;
  for (const RatePoint& p : plan.rates_at) {
    if (p.context == told) continue;
    told = p.context;
    const StepTime& t = p.prefill;
    absl::StrAppendFormat(&out, "  %8s %7.0f | %7.2f %7.2f %7.2f %7.2f %7.2f %7.2f | %s\n",
                          Grouped(p.context), p.prefill_tok_per_s, t.attention_s, t.shared_s,
                          t.cpu_experts_s, t.hot_experts_s, t.pcie_s, t.total_s, t.limit);
  }
  if (plan.gpu)
    absl::StrAppend(&out,
                    "  Cold experts run on the CPU beside shared, hot and sent ones on the GPU.\n");
}

void AppendRoofs(const PlanReport& r, std::string& out) {
  const Roofs roofs = RoofsOf(r.shape, r.machine);
  const Footprint f = ComputeFootprint(r.shape, kBf16WeightBytes);
  if (roofs.ram_read == 0 && roofs.ram_paper == 0) return;
  absl::StrAppendFormat(&out, "\nroofs: a token reads %s of routed experts\n",
                        Gb(f.routed_read_per_token));
  if (roofs.ram_paper > 0)
    absl::StrAppendFormat(&out, "  %7.1f tok/s at the memory channels' %.0f GB/s on paper\n",
                          roofs.ram_paper, r.machine.peak_gb_per_s());
  if (roofs.ram_read > 0)
    absl::StrAppendFormat(&out, "  %7.1f tok/s at the %.0f GB/s that the experts' kernel reads\n",
                          roofs.ram_read, r.machine.read_gb_per_s());
  if (roofs.streamed_pass_s > 0)
    absl::StrAppendFormat(&out, "  %7.1f s to send all experts over PCIe at %.0f GB/s\n",
                          roofs.streamed_pass_s, r.machine.gpu->pcie_gb_per_s);
}

void AppendUpgrades(const PlanReport& r, std::string& out) {
  if (r.upgrades.empty()) return;
  absl::StrAppend(&out, "\nwhat more hardware would bring\n");
  for (const Upgrade& u : r.upgrades) {
    absl::StrAppendFormat(&out, "  %-34s decode %+6.1f %%  prefill %+6.1f %%%s%s\n", u.what,
                          100 * u.decode_gain, 100 * u.prefill_gain, u.note.empty() ? "" : "  ",
                          u.note);
  }
}

}  // namespace

Roofs RoofsOf(const ModelShape& shape, const Machine& machine) {
  const Footprint f = ComputeFootprint(shape, kBf16WeightBytes);
  if (f.routed_read_per_token == 0) return {};
  const auto token_bytes = static_cast<double>(f.routed_read_per_token);
  return {.ram_paper = machine.peak_gb_per_s() * 1e9 / token_bytes,
          .ram_read = machine.read_gb_per_s() * 1e9 / token_bytes,
          .streamed_pass_s = machine.gpu && machine.gpu->pcie_gb_per_s > 0
                                 ? f.routed_bytes / (machine.gpu->pcie_gb_per_s * 1e9)
                                 : 0};
}

std::string PlanText(const PlanReport& report) {
  std::string out;
  AppendHead(report, out);
  AppendBudget(report, out);
  AppendPlacement(report, out);
  AppendRates(report.plan, out);
  AppendRoofs(report, out);
  AppendUpgrades(report, out);
  if (!report.plan.notes.empty()) absl::StrAppend(&out, "\nnotes\n");
  for (const std::string& note : report.plan.notes)
    absl::StrAppend(&out, "  - ", Wrapped(note, 4), "\n");
  return out;
}

}  // namespace tandem
