// What one NUMA node does of an MoE layer, by the workers of that node:
//
//   group tokens by expert, quantise x (once per token) |
//   gate, up, SiLU, multiply, quantise                  |      | is a barrier of the node
//   down, times routing weight
//
// How work is cut: gate and up by column groups (32 columns) of an expert, and by input groups
// where there are too few of those for all workers; down by lanes (32 output rows), and a lane by
// experts. PieceQueue hands both out so that any number of workers finishes together.
//
// Summation order: along the inputs as the kernel does it, whoever continues; then a token's
// experts in ascending id. Nothing is ever added in another order, so a token's bits depend on its
// row alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/memory.h"
#include "core/routed_tokens.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/kernel_table.h"
#include "cpu_experts/panel16g32.h"
#include "cpu_experts/piece_queue.h"

namespace tandem {

// An expert of one layer, or its shard, as one node holds it.
struct NodeExpert {
  const uint8_t* block = nullptr;        // null: not on this node
  const ExpertLayout* layout = nullptr;  // of the block
  bool replicated = false;               // on every node as a whole: they take turns
};

// Bounds of what a layer may ask of a driver.
struct MoeDriverShape {
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int32_t max_experts = 0;  // most experts of one layer
  int32_t top_k = 0;
  int32_t max_tokens = 0;
};

class NodeDriver {
 public:
  // Allocates all working memory, on the node. `kernels` and `team` must outlive the object.
  static absl::StatusOr<std::unique_ptr<NodeDriver>> Create(const MoeDriverShape& shape,
                                                            const KernelTable& table,
                                                            const ModeKernels& kernels,
                                                            WorkerTeam& team, int node);

  // By the calling thread before the job: what the layer holds and what it shall do. y is
  // overwritten by Work(). REQUIRES: in.tokens <= max_tokens; ids below experts.size(); all outlive
  // the job.
  void Begin(std::span<const NodeExpert> experts, const RoutedTokens& in, View<float, 2> y);
  // Inside the job, by every worker of the node. Allocates nothing.
  void Work(int worker);

 private:
  // Consecutive (token, slot) pairs of one expert, at most kMaxTokens.
  struct Chunk {
    const uint8_t* block;
    const ExpertLayout* layout;
    int32_t begin;
    int32_t count;
    int64_t first_item;  // column groups of the chunks before
    int64_t first_row;   // rows of sums of the chunks before: a column group has `count`
    int64_t x_stride;    // see DotArgs
    int64_t columns() const { return layout->intermediate / kColumnGroup; }
  };
  using Progress = std::unique_ptr<std::atomic<int32_t>[]>;  // steps done, by item

  NodeDriver() = default;
  bool Takes(int64_t token, int64_t slot) const;
  void Group();
  void CountPairs();
  void MakeChunks();
  void PlacePairs();
  void PlanPhases();

  void QuantizeShare();
  void SpaceEvenlyShare();
  template <class Whole, class Part>
  void RunPhase(int worker, PieceQueue& queue, int64_t steps, Progress& progress, Whole whole,
                Part part);
  void GateUpShare(int worker);
  void GateUp(const Chunk& chunk, int64_t column, int64_t first_group, int64_t n_groups,
              const uint8_t* next, float* sums, int worker);
  void DownShare(int worker);
  void Down(int64_t first_panel, int64_t last_panel, int64_t first_chunk, int64_t last_chunk,
            int worker);
  void ZeroOutput();

  size_t ChunkOf(int64_t item) const;
  float* own_sums(int worker) const;
  uint8_t* scratch(int worker) const;

  MoeDriverShape shape_;
  const KernelTable* table_ = nullptr;
  const ModeKernels* kernels_ = nullptr;
  WorkerTeam* team_ = nullptr;
  int node_ = 0;
  int workers_ = 1;

  // The layer at hand.
  std::span<const NodeExpert> experts_;
  RoutedTokens in_;
  View<float, 2> y_;

  std::vector<int32_t> expert_begin_;  // [max_experts + 1] first pair of each expert
  std::vector<Chunk> chunks_;
  std::vector<const uint8_t*> x_rows_;  // [pairs], in order of experts
  std::vector<uint8_t*> h_rows_;        // [pairs]
  std::vector<float*> y_rows_;          // [pairs]
  std::vector<float> pair_weights_;     // [pairs]
  NumaBuffer x_;                        // [tokens] rows of records
  NumaBuffer spaced_x_;                 // [pairs] the same in order of pairs, where kernels want it
  NumaBuffer h_;                        // [pairs] rows of records
  NumaBuffer shared_sums_;              // rows of sums of column groups that workers share
  NumaBuffer scratch_;                  // per worker
  int64_t gate_up_steps_ = 1;
  bool spaced_ = false;
  std::atomic<int64_t> next_token_{0}, next_chunk_{0};
  PieceQueue gate_up_queue_, down_queue_;
  Progress gate_up_progress_, down_progress_;
};

}  // namespace tandem
