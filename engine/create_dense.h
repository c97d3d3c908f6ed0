// Chooses and creates the dense side's backend.
#pragma once

#include <cstdint>
#include <memory>

#include "core/model_shape.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "engine/device_options.h"
#include "gpu_attention/dense_backend.h"

namespace tandem {

struct DenseNeeds {
  ModelShape shape;
  DenseDType dtype = DenseDType::kBf16;
  int32_t max_rows = 0;       // of one step
  int32_t max_sequences = 0;  // at once
  int64_t kv_tokens = 0;      // 0: by the memory that is left
  int32_t expert_shards = 1;  // how the CPU cuts its experts
};

struct CreatedDense {
  std::unique_ptr<DenseBackend> backend;
  int64_t kv_pages = 0;
};

// Errors: UNAVAILABLE without the GPU asked for, INVALID_ARGUMENT for options that do not go
// together, RESOURCE_EXHAUSTED naming what did not fit. kAuto takes the CPU, and logs why, where a
// GPU cannot be used.
absl::StatusOr<CreatedDense> CreateDense(const DenseNeeds& needs, const DeviceOptions& options,
                                         WorkerTeam& team);

}  // namespace tandem
