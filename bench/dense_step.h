// Steps of the host backend with random weights, call by call, as engine/model.cpp makes them.
#pragma once

#include <memory>
#include <vector>

#include "core/model_shape.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "engine/sampler.h"
#include "gpu_attention/dense_backend.h"

namespace tandem {

// Seconds of a step's parts, each of one layer, and of all that was computed.
struct DenseStepTimes {
  double attention_s = 0, dense_mlp_s = 0, moe_s = 0, head_s = 0;
  double all_s = 0;
};

class DenseStep {
 public:
  static constexpr int32_t kMostRows = 512;
  static constexpr int32_t kMostSequences = 8;  // that have many tokens cached

  // `shape`: with as many layers as shall be computed. `context`: the most tokens a sequence may
  // have cached before a step.
  static absl::StatusOr<DenseStep> Create(const ModelShape& shape, int32_t weight_bits,
                                          int32_t context, WorkerTeam& team);

  // A decode step of `rows` sequences; `head`: also their logits and greedy tokens, as many rows at
  // a time as the engine asks for. REQUIRES: cached == 0, or rows <= kMostSequences.
  absl::StatusOr<DenseStepTimes> Decode(int32_t rows, int32_t cached, bool head);
  // One sequence's next `rows` tokens: attention only.
  absl::StatusOr<DenseStepTimes> Prefill(int32_t rows, int32_t cached);
  // Attention only, of decode rows.
  absl::StatusOr<DenseStepTimes> DecodeAttention(int32_t rows, int32_t cached);

 private:
  DenseStep(const ModelShape& shape, WorkerTeam& team);
  absl::Status FillCache();
  absl::StatusOr<double> BeginDecode(int32_t rows, int32_t cached);
  DenseStepTimes AttentionOnly();
  absl::Status Layers(DenseStepTimes& times);
  absl::Status Head(int32_t rows);

  ModelShape shape_;
  WorkerTeam* team_;
  int32_t context_pages_ = 0;  // of a sequence with much cached
  std::unique_ptr<DenseBackend> backend_;
  std::vector<Sampler> samplers_;  // by worker
  std::vector<int32_t> ids_;       // [kMostRows] random
  std::vector<int32_t> pages_;     // all of them, in order
  std::vector<SequenceSlice> slices_;
};

}  // namespace tandem
