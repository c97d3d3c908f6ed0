// The memory of the routed experts: which NUMA node holds what of which expert, and how it gets
// there. Owns it; computes nothing.
//
// By default an expert is cut into one shard per node of the team, so that every token loads every
// node evenly. A placement may instead keep an expert whole on one node, or whole on every node.
// Where experts are too narrow for a shard per node, they are dealt to the nodes whole.
//
// Different experts may be loaded from different threads.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/ids.h"
#include "core/memory.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/experts.h"
#include "cpu_experts/node_driver.h"
#include "cpu_experts/packed_image.h"
#include "cpu_experts/shards.h"

namespace tandem {

class ExpertStore {
 public:
  // Takes the memory, lazily, if `reserve`. Errors: INVALID_ARGUMENT for a placement that does not
  // fit shape and team; RESOURCE_EXHAUSTED for memory.
  static absl::StatusOr<std::unique_ptr<ExpertStore>> Create(const ExpertsShape& shape,
                                                             const ExpertPlacements& placements,
                                                             const WorkerTeam& team, bool reserve);

  // Every node's experts of a layer, for MoeDriver::Forward().
  std::span<const std::vector<NodeExpert>> nodes(LayerId layer) const {
    return layers_[layer.value].nodes;
  }
  int64_t bytes() const { return bytes_; }

  // As CpuExperts says.
  int n_shards() const { return all_sharded_ ? sharded_.n_shards() : 0; }
  absl::Status Load(LayerId layer, ExpertId expert, const ExpertWeights& weights);
  absl::Status LoadPacked(const PackedLayer& image, ExpertId expert,
                          std::span<const std::byte> packed);
  std::span<std::byte> ShardMemory(LayerId layer, ExpertId expert, int shard) const;
  void SetLoaded(LayerId layer, ExpertId expert);
  ExpertShards Shards(LayerId layer, ExpertId expert) const;
  void Release(LayerId layer, ExpertId expert);
  bool IsLoaded(LayerId layer, ExpertId expert) const {
    return layers_[layer.value].states[expert.value] != kAbsent;
  }
  ExpertShards Memory(LayerId layer) const;
  absl::Status Map(std::shared_ptr<const PackedLayer> image, bool verified);
  absl::Status EnsureVerified(LayerId layer, View<const int32_t, 2> expert_ids, WorkerTeam& team);

  // CHECKs that every expert named was loaded, and verified if it is mapped.
  void CheckReady(LayerId layer, View<const int32_t, 2> expert_ids) const;

 private:
  enum State : uint8_t { kAbsent, kUnverified, kReady };
  struct Layer {
    std::vector<std::vector<NodeExpert>> nodes;  // [nodes][experts]
    std::vector<NumaBuffer> memory;              // [nodes]; empty if mapped
    std::shared_ptr<const PackedLayer> image;    // null unless mapped
    // [experts]; bytes, not bits: different experts are loaded from different threads.
    std::vector<uint8_t> states;
  };

  ExpertStore(const ExpertsShape& shape, int nodes);
  absl::Status CheckPlacements(const ExpertPlacements& placements) const;
  ExpertPlacement PlacementOf(const ExpertPlacements& placements, int layer, int expert) const;
  absl::Status AddLayer(const ExpertPlacements& placements, int index, const WorkerTeam& team,
                        bool reserve);
  absl::Status CheckIds(LayerId layer, ExpertId expert) const;
  absl::Status CheckImage(const PackedLayer& image) const;
  const ShardedLayout& CutOf(LayerId layer, ExpertId expert) const;
  // Calls fill(shard, memory) for every block of the expert.
  template <class Fill>
  void FillBlocks(LayerId layer, ExpertId expert, Fill fill);

  const ExpertsShape shape_;
  const int n_nodes_;
  const bool narrow_;            // fewer column groups than nodes: nothing is cut
  const ShardedLayout sharded_;  // one shard per node, or one if narrow
  const ShardedLayout whole_;    // one shard
  bool all_sharded_ = true;
  int64_t bytes_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace tandem
