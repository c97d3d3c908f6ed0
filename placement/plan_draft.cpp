#include "placement/plan_draft.h"

#include <algorithm>

namespace tandem {
namespace {

size_t At(const ModelShape& shape, const HotPick& pick) {
  return static_cast<size_t>(pick.moe_layer) * shape.experts + pick.expert;
}

// Hot experts, as long as they save time; beyond that only as far as RAM cannot do without. What
// leaves RAM brings the most used expert of the disk back, which counts as well.
void ChooseHot(const PlannerInput& input, const std::vector<HotPick>& by_use, PlanDraft& draft) {
  const MemoryPlan& memory = draft.memory;
  if (memory.hot_capacity == 0) return;
  const std::vector<HotPick> order =
      OrderHotExperts(input.shape, *draft.costs, input.decode, input.batch);
  const bool disk = input.machine.rates.disk_gb_per_s > 0;
  const int64_t homeless = std::max<int64_t>(0, memory.experts - memory.ram_capacity);
  int64_t taken = 0;
  for (; taken < memory.hot_capacity; ++taken) {
    double gain_s = order[taken].gain_s;
    const int64_t left_over = homeless - taken;
    if (left_over > 0 && !disk) continue;  // needed
    if (left_over > 0) {
      const HotPick& back = by_use[left_over - 1];
      gain_s += draft.costs->experts().DiskSeconds(
          input.decode.Probability(back.moe_layer, back.expert), input.batch);
    }
    draft.hot_saturated = !(gain_s > 0);
    if (draft.hot_saturated) break;
  }
  draft.hot.assign(order.begin(), order.begin() + taken);
  draft.hot_experts_leave_ram = homeless > 0 && taken > 0;
}

void ChooseDisk(const PlannerInput& input, const std::vector<HotPick>& by_use, PlanDraft& draft) {
  for (const HotPick& pick : draft.hot) draft.where[At(input.shape, pick)] = Residence::kGpu;
  const int64_t in_ram =
      draft.memory.experts - (draft.hot_experts_leave_ram ? std::ssize(draft.hot) : 0);
  int64_t left_over = in_ram - draft.memory.ram_capacity;
  for (auto pick = by_use.begin(); left_over > 0 && pick != by_use.end(); ++pick) {
    Residence& residence = draft.where[At(input.shape, *pick)];
    if (residence == Residence::kGpu) continue;
    residence = Residence::kDisk;
    draft.on_disk.push_back(*pick);
    --left_over;
  }
}

// Whole experts: the heaviest first, each to the node with the least to do that has room.
void DealOut(const PlannerInput& input, PlanDraft& draft) {
  const ModelShape& shape = input.shape;
  const NumaHome home = draft.memory.option.home;
  if (home == NumaHome::kSharded) return;
  draft.numa.assign(shape.layers, {});
  const int nodes = draft.memory.nodes();
  std::vector<int64_t> room;
  for (int i = 0; i < nodes; ++i)
    room.push_back(
        std::max<int64_t>(0, (draft.memory.node_bytes[i] - draft.memory.node_fixed_bytes[i]) /
                                 draft.memory.node_block_bytes[i]));
  std::vector<std::vector<double>> load(shape.moe_layers(), std::vector<double>(nodes, 0.0));
  for (int32_t l = shape.dense_layers; l < shape.layers; ++l)
    draft.numa[l].assign(shape.experts, {home, 0});
  if (home == NumaHome::kReplicated) return;
  std::vector<HotPick> heaviest = OrderByUse(shape, input.decode);
  std::ranges::reverse(heaviest);
  for (const HotPick& pick : heaviest) {
    const Residence residence = draft.where[At(shape, pick)];
    const bool in_ram = residence == Residence::kRam ||
                        (residence == Residence::kGpu && !draft.hot_experts_leave_ram);
    std::vector<double>& loads = load[pick.moe_layer];
    int best = 0;
    for (int i = 1; i < nodes; ++i)
      if ((room[i] > 0) > (room[best] > 0) ||
          ((room[i] > 0) == (room[best] > 0) && loads[i] < loads[best]))
        best = i;
    draft.numa[shape.dense_layers + pick.moe_layer][pick.expert].node = best;
    loads[best] += input.decode.Probability(pick.moe_layer, pick.expert);
    if (in_ram) --room[best];
  }
}

}  // namespace

PlanDraft MakeDraft(const PlannerInput& input, const MemoryPlan& memory) {
  PlanDraft draft;
  draft.memory = memory;
  const int32_t bits = memory.option.gpu ? 16 : input.goals.weight_bits;
  draft.costs = std::make_unique<CostModel>(input.shape, input.machine, bits, memory.option.gpu,
                                            input.decode, input.prefill, memory.option.home);
  draft.where.assign(memory.experts, Residence::kRam);
  const std::vector<HotPick> by_use = OrderByUse(input.shape, input.decode);
  ChooseHot(input, by_use, draft);
  ChooseDisk(input, by_use, draft);
  DealOut(input, draft);
  draft.step_s = draft.costs->Decode(draft.where, input.batch, input.context).total_s;
  return draft;
}

}  // namespace tandem
