// What fits where, before any expert is chosen: the fixed parts of GPU memory and RAM, and how many
// experts the rest holds. Pure arithmetic; how fast things are plays no role.
//
// GPU:  dense side + embedding + latent cache + workspace, then the buffer for streamed experts,
//       then the workspace of longer prompt steps, then hot experts. A later part is given nothing
//       unless all earlier ones have theirs in full, so more memory never takes from any.
// RAM:  program and workspace (without a GPU also dense side, embedding, latent cache), spread over
//       the nodes as they have room; then experts.
#pragma once

#include <cstdint>
#include <vector>

#include "core/model_shape.h"
#include "placement/machine.h"
#include "placement/plan.h"

namespace tandem {

// What a plan may choose between.
struct PlacementOption {
  bool gpu = false;  // the dense side lies there
  NumaHome home = NumaHome::kSharded;
};

struct MemoryPlan {
  PlacementOption option;
  int64_t expert_bytes = 0;  // as it lies on the GPU and on the disk
  int64_t dense_bytes = 0, embedding_bytes = 0, kv_bytes = 0, kv_tokens = 0;

  int64_t gpu_bytes = 0;            // that may be used
  int64_t gpu_workspace_bytes = 0;  // longer steps included
  int64_t stream_bytes = 0;         // 0: no streaming
  int32_t chunk_tokens = 0;
  int64_t hot_capacity = 0;  // experts
  int64_t gpu_used() const;

  std::vector<int64_t> node_bytes;        // that may be used
  std::vector<int64_t> node_fixed_bytes;  // of which are taken before experts
  std::vector<int64_t> node_block_bytes;  // of one expert that lies in RAM; whole: all of it
  int64_t ram_workspace_bytes = 0;        // program and workspace
  int64_t ram_capacity = 0;               // experts
  int64_t experts = 0;                    // of the model

  int64_t missing_gpu_bytes = 0, missing_ram_bytes = 0;
  bool fits() const { return missing_gpu_bytes == 0 && missing_ram_bytes == 0; }
  int nodes() const { return static_cast<int>(node_bytes.size()); }
};

MemoryPlan PlanMemory(const ModelShape& shape, const Machine& machine, const PlanGoals& goals,
                      const PlacementOption& option);

// The options that this machine and these goals leave, the preferred first. Hot experts and
// streaming want all experts cut alike, so with a GPU they are sharded where they can be.
std::vector<PlacementOption> PlacementOptions(const ModelShape& shape, const Machine& machine,
                                              const PlanGoals& goals);

}  // namespace tandem
