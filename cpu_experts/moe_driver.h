// One MoE layer over a worker team: every NUMA node computes the experts, or the shards of experts,
// that lie in its memory (node_driver.h); their results are added in the order of the nodes. One
// fork/join on one node, two on several.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/memory.h"
#include "core/routed_tokens.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/node_driver.h"

namespace tandem {

class MoeDriver {
 public:
  // Allocates all working memory. `table`, `kernels` and `team` must outlive the object.
  static absl::StatusOr<std::unique_ptr<MoeDriver>> Create(const MoeDriverShape& shape,
                                                           const KernelTable& table,
                                                           const ModeKernels& kernels,
                                                           WorkerTeam& team);

  // Overwrites y. `nodes[n]` is what node n of the team holds of the layer, [experts].
  // REQUIRES: in.tokens <= max_tokens; ids below the number of experts. Allocates nothing.
  void Forward(std::span<const std::vector<NodeExpert>> nodes, const RoutedTokens& in,
               View<float, 2> y);

 private:
  explicit MoeDriver(WorkerTeam& team) : team_(team) {}
  void AddNodes(View<float, 2> y);

  WorkerTeam& team_;
  int64_t hidden_ = 0;
  std::vector<std::unique_ptr<NodeDriver>> nodes_;
  std::vector<NumaBuffer> node_outputs_;  // [nodes - 1] of [tokens, hidden]; node 0 writes y
};

}  // namespace tandem
