// Dense weights of a model, made in memory: all matrices are cuts out of one pool of random
// numbers, so a trillion-parameter model's layers need no more memory than its largest matrix.
#pragma once

#include "core/memory.h"
#include "core/model_shape.h"
#include "core/worker_team.h"
#include "gpu_attention/dense_weights.h"

namespace tandem {

class RandomModel {
 public:
  // Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<RandomModel> Create(const ModelShape& shape, WorkerTeam& team);

  // Views into the pool, good as long as the object is.
  GlobalWeights globals() const;
  LayerWeights layer(LayerId layer) const;
  std::span<const std::byte> memory() const { return {pool_.data(), pool_.size_bytes()}; }

 private:
  MatrixView Matrix(int64_t rows, int64_t cols, uint32_t salt) const;
  VectorView Norm(int64_t size) const { return {norms_.as<bf16>(), {size}}; }

  ModelShape shape_;
  int64_t elems_ = 0;
  NumaBuffer pool_;   // BF16
  NumaBuffer norms_;  // BF16 ones
  NumaBuffer gate_;   // F32 [experts, hidden], BF16 values; then the bias
};

}  // namespace tandem
