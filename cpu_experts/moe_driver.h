// One MoE layer over a worker team: tokens grouped by expert, then two or three fork/joins:
//   quantise x (once per token) | gate, up, SiLU, multiply, quantise | down, times routing weight.
//
// Summation order: a worker owns output rows for all tokens and adds the experts of a token in
// ascending id; nothing else is ever added in parallel. So a token's bits depend on its row alone.
#pragma once

#include <cstdint>
#include <vector>

#include "core/memory.h"
#include "core/routed_tokens.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/kernel_table.h"
#include "cpu_experts/panel16g32.h"

namespace tandem {

struct MoeDriverShape {
  ExpertLayout layout;
  int32_t max_experts = 0;  // most experts of one layer
  int32_t top_k = 0;
  int32_t max_tokens = 0;
  ExpertActivations activations = ExpertActivations::kInt8;
  int64_t expert_stride = 0;  // bytes from expert to expert; 0: layout.bytes()
};

class MoeDriver {
 public:
  // Allocates all working memory. `kernel` and `team` must outlive the object.
  // REQUIRES: the kernel offers shape.activations.
  static absl::StatusOr<MoeDriver> Create(const MoeDriverShape& shape, const KernelTable& kernel,
                                          WorkerTeam& team);

  // Overwrites y. `experts` is the layer's weights: block e at experts + e * expert_stride.
  // REQUIRES: in.tokens <= max_tokens; ids below n_experts. Allocates nothing.
  void Forward(const uint8_t* experts, int32_t n_experts, const RoutedTokens& in, View<float, 2> y);

 private:
  // Consecutive (token, slot) pairs of one expert, at most kMaxTokens.
  struct Chunk {
    int32_t expert;
    int32_t begin;
    int32_t count;
  };

  MoeDriver() = default;
  void GroupByExpert(int32_t n_experts, const RoutedTokens& in, View<float, 2> y);
  void QuantizeTokens(View<const bf16, 2> hidden);
  void GateUpPhase(const uint8_t* experts);
  void DownPhase(const uint8_t* experts, View<float, 2> y);
  void GateUpColumns(const uint8_t* experts, const Chunk& chunk, int64_t begin, int64_t end,
                     int worker) const;
  void DownPanels(const uint8_t* experts, int64_t begin, int64_t end, View<float, 2> y,
                  int worker) const;
  // The part of a dot call that does not depend on the panels.
  DotArgs DotOf(const Chunk& chunk, int worker) const;
  float* sums(int worker) const {
    return reinterpret_cast<float*>(scratch_.as<uint8_t>() + worker * (kScratchBytes + kSumsBytes));
  }

  MoeDriverShape shape_;
  const KernelTable* kernel_ = nullptr;
  const ModeKernels* mode_ = nullptr;
  WorkerTeam* team_ = nullptr;
  NumaBuffer x_;        // [max_tokens] rows of records over hidden
  NumaBuffer h_;        // [max_tokens * top_k] rows of records over intermediate
  NumaBuffer scratch_;  // [workers][kSumsBytes + kScratchBytes]

  // Of the current call; pairs are sorted by expert, then token.
  std::vector<int32_t> expert_begin_;  // [max_experts + 1]
  std::vector<Chunk> chunks_;
  std::vector<const uint8_t*> x_rows_;  // [pairs]
  std::vector<uint8_t*> h_rows_;        // [pairs]
  std::vector<float*> y_rows_;          // [pairs]
  std::vector<float> pair_weights_;     // [pairs]
};

}  // namespace tandem
