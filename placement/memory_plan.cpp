#include "placement/memory_plan.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "core/sharded_layout.h"
#include "placement/footprint.h"
#include "placement/numa_balance.h"

namespace tandem {
namespace {

constexpr int64_t kPageTokens = 64;      // of the latent cache
constexpr int32_t kMostSequences = 64;   // decode rows of a step that the engine allows at least
constexpr int32_t kLongestChunk = 8192;  // rows of a prompt's step with a GPU
constexpr int64_t kProgramBytes = int64_t{1} << 30;  // tokenizer, tables, mailbox, the program

int64_t PositiveOrZero(int64_t value) { return std::max<int64_t>(0, value); }

// What plans may use of every node: what the reserve leaves, and what is free now.
std::vector<int64_t> UsableNodeBytes(const Machine& m, const PlanGoals& goals) {
  int64_t all_nodes = 0;
  for (const MachineNode& node : m.nodes) all_nodes += node.memory_bytes;
  const int64_t memory = m.memory_bytes > 0 ? m.memory_bytes : all_nodes;
  int64_t usable = PositiveOrZero(memory - goals.ram_reserve_bytes);
  if (m.available_bytes > 0) usable = std::min(usable, m.available_bytes);
  const std::vector<int32_t> nodes = ComputeNodes(m);
  if (nodes.empty()) return {usable};
  std::vector<int64_t> bytes;
  for (const int32_t i : nodes) {
    const double share = static_cast<double>(m.nodes[i].memory_bytes) / all_nodes;
    bytes.push_back(static_cast<int64_t>(static_cast<double>(usable) * share));
  }
  return bytes;
}

// Rows of a prompt's step once GPU memory is no limit.
int32_t LongestChunk(const PlanGoals& goals) {
  if (goals.stream_buffer_bytes == 0) return goals.max_step_tokens;
  const auto useful = static_cast<int32_t>(std::min<int64_t>(kLongestChunk, goals.context));
  const auto wanted = static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(useful)));
  int32_t chunk = goals.max_step_tokens;
  while (2 * chunk <= wanted) chunk *= 2;
  return chunk;
}

void PlanGpu(const ModelShape& shape, const Machine& machine, const PlanGoals& goals,
             MemoryPlan& plan) {
  const int64_t sequences = std::max(goals.concurrency, kMostSequences);
  plan.gpu_bytes = PositiveOrZero(machine.gpu->memory_bytes - goals.vram_reserve_bytes);
  plan.chunk_tokens = goals.max_step_tokens;
  plan.gpu_workspace_bytes = GpuWorkspaceBytes(shape, goals.max_step_tokens + sequences);
  plan.missing_gpu_bytes = PositiveOrZero(plan.gpu_used() - plan.gpu_bytes);
  const bool cut_alike = plan.option.home == NumaHome::kSharded;
  int64_t left = plan.gpu_bytes - plan.gpu_used();
  if (left < 0 || shape.moe_layers() == 0 || !cut_alike) return;
  if (goals.stream_buffer_bytes > left) return;
  plan.stream_bytes = goals.stream_buffer_bytes;
  left -= plan.stream_bytes;
  const int64_t before = plan.gpu_workspace_bytes;
  const auto grows_by = [&](int32_t chunk) {
    return GpuWorkspaceBytes(shape, chunk + sequences) - before;
  };
  const int32_t longest = LongestChunk(goals);
  while (plan.chunk_tokens < longest && grows_by(2 * plan.chunk_tokens) <= left)
    plan.chunk_tokens *= 2;
  left -= grows_by(plan.chunk_tokens);
  plan.gpu_workspace_bytes += grows_by(plan.chunk_tokens);
  if (plan.chunk_tokens < longest) return;
  plan.hot_capacity = std::min(plan.experts, left / plan.expert_bytes);
}

void PlanNodes(const ModelShape& shape, const Machine& machine, const PlanGoals& goals,
               MemoryPlan& plan) {
  plan.node_bytes = UsableNodeBytes(machine, goals);
  const int nodes = plan.nodes();
  const bool dense = !plan.option.gpu;
  // With a GPU always for the longest steps: more GPU memory must not ask for more RAM.
  const int64_t rows = (dense ? goals.max_step_tokens : LongestChunk(goals)) +
                       std::max(goals.concurrency, kMostSequences);
  plan.ram_workspace_bytes = kProgramBytes + RamWorkspaceBytes(shape, rows, nodes, dense);
  const int64_t fixed = plan.ram_workspace_bytes +
                        (dense ? plan.dense_bytes + plan.embedding_bytes + plan.kv_bytes : 0);
  const int64_t usable =
      std::accumulate(plan.node_bytes.begin(), plan.node_bytes.end(), int64_t{0});
  plan.missing_ram_bytes = PositiveOrZero(fixed - usable);
  const bool sharded = plan.option.home == NumaHome::kSharded && shape.moe_layers() > 0;
  const ShardedLayout layout =
      sharded ? ShardedLayout(shape.hidden, shape.expert_intermediate, nodes) : ShardedLayout();
  std::vector<int64_t> room;  // experts
  int64_t rest = fixed;
  for (int i = 0; i < nodes; ++i) {
    const double share = usable > 0 ? static_cast<double>(plan.node_bytes[i]) / usable : 0;
    const int64_t taken =
        i + 1 < nodes ? static_cast<int64_t>(static_cast<double>(fixed) * share) : rest;
    rest -= taken;
    plan.node_fixed_bytes.push_back(taken);
    plan.node_block_bytes.push_back(sharded ? layout.block_bytes(i) : plan.expert_bytes);
    room.push_back(plan.expert_bytes == 0
                       ? 0
                       : PositiveOrZero(plan.node_bytes[i] - taken) / plan.node_block_bytes[i]);
  }
  plan.ram_capacity = plan.option.home == NumaHome::kWhole
                          ? std::accumulate(room.begin(), room.end(), int64_t{0})
                          : *std::ranges::min_element(room);
}

}  // namespace

int64_t MemoryPlan::gpu_used() const {
  return dense_bytes + embedding_bytes + kv_bytes + gpu_workspace_bytes + stream_bytes;
}

MemoryPlan PlanMemory(const ModelShape& shape, const Machine& machine, const PlanGoals& goals,
                      const PlacementOption& option) {
  const int32_t bits = option.gpu ? 16 : goals.weight_bits;
  const Footprint footprint = ComputeFootprint(shape, DenseWeightBytes(bits));
  MemoryPlan plan;
  plan.option = option;
  plan.experts = int64_t{shape.moe_layers()} * shape.experts;
  if (plan.experts > 0)
    plan.expert_bytes = ShardedLayout(shape.hidden, shape.expert_intermediate, 1).expert_bytes();
  plan.dense_bytes = footprint.dense_bytes;
  plan.embedding_bytes = footprint.embedding_bytes;
  plan.kv_tokens =
      (goals.context + kPageTokens - 1) / kPageTokens * kPageTokens * goals.concurrency;
  plan.kv_bytes = plan.kv_tokens * footprint.kv_bytes_per_token;
  plan.chunk_tokens = goals.max_step_tokens;
  if (option.gpu) PlanGpu(shape, machine, goals, plan);
  PlanNodes(shape, machine, goals, plan);
  if (machine.rates.disk_gb_per_s > 0) return plan;
  const int64_t homeless = plan.experts - plan.hot_capacity - plan.ram_capacity;
  const int64_t copies = option.home == NumaHome::kReplicated ? plan.nodes() : 1;
  if (homeless > 0) plan.missing_ram_bytes += homeless * plan.expert_bytes * copies;
  return plan;
}

std::vector<PlacementOption> PlacementOptions(const ModelShape& shape, const Machine& machine,
                                              const PlanGoals& goals) {
  const int nodes = std::max<int>(1, static_cast<int>(ComputeNodes(machine).size()));
  const bool sharded = nodes == 1 || shape.moe_layers() == 0 || Shardable(shape, nodes);
  const NumaHome usual = sharded ? NumaHome::kSharded : NumaHome::kWhole;
  std::vector<PlacementOption> options;
  if (machine.gpu && goals.use_gpu) options.push_back({true, usual});
  options.push_back({false, usual});
  // A curve was measured with the usual cut and says nothing of others.
  const bool measured =
      machine.rates.FindExperts(shape.hidden, shape.expert_intermediate) != nullptr;
  if (nodes == 1 || shape.moe_layers() == 0 || measured) return options;
  for (const NumaHome home : {NumaHome::kWhole, NumaHome::kReplicated}) {
    if (home != usual) options.push_back({false, home});
    if (home != usual && !sharded && machine.gpu && goals.use_gpu) options.push_back({true, home});
  }
  return options;
}

}  // namespace tandem
