#include "placement/plan_words.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "placement/plan_limits.h"

namespace tandem {
namespace {

void NoteGpu(const PlannerInput& in, const PlanDraft& draft, std::vector<std::string>& notes) {
  if (draft.memory.option.gpu || !in.machine.gpu) return;
  if (!in.goals.use_gpu) {
    notes.push_back("The GPU is not used, as asked for.");
    return;
  }
  const PlacementOption gpu = PlacementOptions(in.shape, in.machine, in.goals)[0];
  const std::string missing = MissingText(in.shape, in.machine, in.goals, gpu);
  notes.push_back(missing.empty()
                      ? "The GPU is not used: a step would take longer with it."
                      : absl::StrCat("The GPU is not used: ", missing, " are missing for that."));
}

void NoteHot(const PlannerInput& in, const PlanDraft& draft, std::vector<std::string>& notes) {
  const MemoryPlan& m = draft.memory;
  if (!m.option.gpu || m.experts == 0) return;
  if (m.option.home != NumaHome::kSharded) {
    notes.push_back("No hot experts and no streaming: experts are too narrow to be cut alike.");
    return;
  }
  if (in.goals.stream_buffer_bytes > 0 && m.stream_bytes == 0)
    notes.push_back("No streaming and no hot experts: GPU memory has no room for the buffers.");
  if (draft.hot_saturated && std::ssize(draft.hot) < m.hot_capacity) {
    notes.push_back(absl::StrCat(
        "More hot experts would save nothing: the GPU's side of the layers would be the longer one "
        "(there is room for ",
        Grouped(m.hot_capacity), ")."));
  }
  if (draft.hot_experts_leave_ram)
    notes.push_back("Hot experts have no copy in RAM, which could not hold all experts.");
}

void NoteHomes(const PlannerInput& in, const PlanDraft& draft, std::vector<std::string>& notes) {
  const NumaHome home = draft.memory.option.home;
  if (home == NumaHome::kSharded || in.shape.moe_layers() == 0) return;
  notes.push_back(
      home == NumaHome::kWhole
          ? "Experts lie whole on one node each: cutting them would leave nodes idle."
          : "Every node has a copy of all experts: RAM allows it and nodes are evener.");
}

}  // namespace

std::string Grouped(int64_t n) {
  std::string text = absl::StrCat(n);
  const int first = n < 0 ? 1 : 0;
  for (int i = static_cast<int>(text.size()) - 3; i > first; i -= 3) text.insert(i, ",");
  return text;
}

std::string ProfileText(const ExpertProfile& profile) {
  std::vector<std::string> names;
  for (const LabelProfile& label : profile.labels)
    names.push_back(label.name.empty() ? "no label" : label.name);
  const Split held = Split::kHeldOut;
  return absl::StrCat(Grouped(profile.tokens()), " tokens (", absl::StrJoin(names, ", "), "), ",
                      Grouped(SumCounts(profile, -1, &held, nullptr).tokens), " of them held out");
}

std::vector<std::string> NotesOf(const PlannerInput& in, const PlanDraft& draft, const Plan& plan) {
  std::vector<std::string> notes;
  if (in.machine.rates.source == MachineRates::Source::kGuessed)
    notes.push_back("The machine's rates are guessed; tandem doctor --calibrate measures them.");
  if (plan.profile.empty() && draft.memory.experts > 0)
    notes.push_back("Without a profile all experts count as used alike.");
  NoteGpu(in, draft, notes);
  if (draft.memory.option.gpu && in.goals.weight_bits == 8)
    notes.push_back("The dense side is BF16: INT8 is for machines without a GPU.");
  NoteHot(in, draft, notes);
  NoteHomes(in, draft, notes);
  if (!draft.on_disk.empty()) {
    notes.push_back(absl::StrCat(Grouped(std::ssize(draft.on_disk)),
                                 " experts do not fit into RAM and are read from the disk when "
                                 "used; what the system caches of them is not counted."));
  }
  if (!plan.rates_at.empty())
    notes.push_back(absl::StrCat("Decode mostly waits for ", plan.rates_at.front().decode.limit,
                                 ", a prompt of ", Grouped(plan.rates_at.back().context),
                                 " tokens for ", plan.rates_at.back().prefill.limit, "."));
  return notes;
}

}  // namespace tandem
