// The budget of a plan, line by line.
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "placement/footprint.h"
#include "placement/plan_draft.h"
#include "placement/plan_words.h"

namespace tandem {
namespace {

int64_t Sum(const std::vector<int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

std::string DenseWhy(const ModelShape& shape, int32_t bits) {
  return absl::StrFormat("%d layers, %s", shape.layers, bits == 16 ? "BF16" : "INT8 with scales");
}

std::string CacheWhy(const PlannerInput& in, const MemoryPlan& memory) {
  const int64_t per_token = ComputeFootprint(in.shape, kBf16WeightBytes).kv_bytes_per_token;
  return absl::StrCat(Grouped(memory.kv_tokens), " tokens x ", Grouped(per_token), " B");
}

std::string ExpertsWhy(int64_t experts, int64_t bytes, const char* more = "") {
  return absl::StrCat(Grouped(experts), " x ", Grouped(bytes), " B", more);
}

void AddGpu(const PlannerInput& in, const PlanDraft& draft, std::vector<BudgetLine>& lines) {
  const MemoryPlan& m = draft.memory;
  const auto hot = std::ssize(draft.hot);
  lines.push_back(
      {"gpu", "attention, shared experts, head", m.dense_bytes, DenseWhy(in.shape, 16)});
  lines.push_back({"gpu", "embedding", m.embedding_bytes,
                   absl::StrCat(Grouped(in.shape.vocab), " tokens, BF16")});
  lines.push_back({"gpu", "latent cache", m.kv_bytes, CacheWhy(in, m)});
  lines.push_back({"gpu", "workspace", m.gpu_workspace_bytes,
                   absl::StrCat("steps of up to ", Grouped(m.chunk_tokens), " prompt tokens")});
  if (m.stream_bytes > 0)
    lines.push_back({"gpu", "buffers for streamed experts", m.stream_bytes, "two, in turns"});
  if (hot > 0)
    lines.push_back({"gpu", "hot experts", hot * m.expert_bytes, ExpertsWhy(hot, m.expert_bytes)});
}

// Experts in the RAM of each node.
std::vector<int64_t> ExpertsOfNodes(const PlannerInput& in, const PlanDraft& draft) {
  const int nodes = draft.memory.nodes();
  std::vector<int64_t> count(nodes, 0);
  for (size_t i = 0; i < draft.where.size(); ++i) {
    if (draft.where[i] == Residence::kDisk) continue;
    if (draft.where[i] == Residence::kGpu && draft.hot_experts_leave_ram) continue;
    if (draft.memory.option.home == NumaHome::kWhole) {
      const size_t layer = in.shape.dense_layers + i / in.shape.experts;
      ++count[draft.numa[layer][i % in.shape.experts].node];
    } else {
      for (int64_t& n : count) ++n;
    }
  }
  return count;
}

void AddNodes(const PlannerInput& in, const PlanDraft& draft, std::vector<BudgetLine>& lines) {
  const MemoryPlan& m = draft.memory;
  const std::vector<int64_t> experts = ExpertsOfNodes(in, draft);
  const bool sharded = m.option.home == NumaHome::kSharded && m.nodes() > 1;
  const char* cut = sharded                                  ? ", a shard of each"
                    : m.option.home == NumaHome::kReplicated ? ", a copy on every node"
                                                             : "";
  for (int i = 0; i < m.nodes(); ++i) {
    const std::string place = absl::StrCat("node ", i);
    const std::string spread =
        m.nodes() > 1 ? absl::StrFormat(", %.0f %% of it here",
                                        100.0 * m.node_fixed_bytes[i] / Sum(m.node_fixed_bytes))
                      : "";
    if (experts[i] > 0) {
      lines.push_back({place, "routed experts", experts[i] * m.node_block_bytes[i],
                       ExpertsWhy(experts[i], m.node_block_bytes[i], cut)});
    }
    int64_t fixed = m.node_fixed_bytes[i];
    // Parts of the fixed bytes, in the same proportion on every node.
    const auto part = [&](const char* what, int64_t bytes, const std::string& why) {
      const double share = 1.0 * m.node_fixed_bytes[i] / Sum(m.node_fixed_bytes);
      const auto here = static_cast<int64_t>(static_cast<double>(bytes) * share);
      fixed -= here;
      lines.push_back({place, what, here, why + spread});
    };
    if (!m.option.gpu) {
      part("attention, shared experts, head", m.dense_bytes,
           DenseWhy(in.shape, in.goals.weight_bits));
      part("embedding", m.embedding_bytes, absl::StrCat(Grouped(in.shape.vocab), " tokens, BF16"));
      part("latent cache", m.kv_bytes, CacheWhy(in, m));
    }
    lines.push_back({place, "program and workspace", fixed,
                     absl::StrCat("1 GiB, and steps of up to ", Grouped(m.chunk_tokens),
                                  " prompt tokens", spread)});
  }
}

}  // namespace

std::vector<BudgetLine> BudgetOf(const PlannerInput& input, const PlanDraft& draft) {
  std::vector<BudgetLine> lines;
  if (draft.memory.option.gpu) AddGpu(input, draft, lines);
  AddNodes(input, draft, lines);
  if (const auto n = std::ssize(draft.on_disk); n > 0)
    lines.push_back({"disk", "routed experts", n * draft.memory.expert_bytes,
                     ExpertsWhy(n, draft.memory.expert_bytes, ", read when used")});
  return lines;
}

}  // namespace tandem
