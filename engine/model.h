// The forward pass: the dense side and the routed experts, layer after layer.
//
// Owned by the engine; one thread calls it. It knows the two sides by their interfaces only.
#pragma once

#include <memory>
#include <span>

#include "core/model_shape.h"
#include "core/status.h"
#include "cpu_experts/experts.h"
#include "gpu_attention/dense_backend.h"
#include "gpu_attention/step_batch.h"

namespace tandem {

class Model {
 public:
  // Both sides hold their weights already, and room for `max_rows` rows of one step. `experts` is
  // null for a model without routed experts. Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const ModelShape& shape, int32_t max_rows,
                                                       std::unique_ptr<DenseBackend> dense,
                                                       std::unique_ptr<CpuExperts> experts);

  // Computes one step up to the last layer and caches its tokens. The spans of `batch` must stay
  // valid until the last Logits() of the step. REQUIRES: at most max_rows rows. Errors: DATA_LOSS
  // when an expert that the step needs turns out to be damaged, UNAVAILABLE when the device fails;
  // then nothing was computed that may be used.
  absl::Status Forward(const StepBatch& batch);

  // Logits of some rows of the last Forward(); valid until the next call. [rows, vocab]. Errors:
  // UNAVAILABLE when the device failed.
  absl::StatusOr<View<const float, 2>> Logits(std::span<const int32_t> rows);

  const ModelShape& shape() const { return shape_; }
  const DenseBackend& dense() const { return *dense_; }
  const CpuExperts* experts() const { return experts_.get(); }

 private:
  Model() = default;
  // A layer's part up to where the experts are needed, and from there on.
  void Start(LayerId layer, int part);
  absl::Status Finish(LayerId layer, int part);

  ModelShape shape_;
  int32_t max_rows_ = 0;
  std::unique_ptr<DenseBackend> dense_;
  std::unique_ptr<CpuExperts> experts_;
};

}  // namespace tandem
