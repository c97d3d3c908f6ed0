// Brings a checkpoint into the two sides that compute: dense weights into the DenseBackend, routed
// experts into CpuExperts, packed by all workers at once. Source pages leave the resident set as
// soon as they are used, so the peak stays near one copy of the model.
#pragma once

#include <functional>

#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/experts.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/expert_loader.h"
#include "engine/checkpoint/progress.h"
#include "gpu_attention/dense_backend.h"

namespace tandem {

struct LoadOptions {
  // May be empty; called from any worker with bytes of the checkpoint read and to be read.
  ProgressFn progress;
  ExpertLoadOptions experts;
  // May be empty; called once a layer is complete on both sides. An error ends loading.
  std::function<absl::Status(LayerId)> after_layer;
};

// Checks the whole checkpoint before the long part starts. `dense` or `experts` may be null: that
// side is then left out. Errors name file, tensor, expected and found; after one, neither side may
// be used. The experts of a packed image are mapped where MapsExperts() says so; then `experts`
// need not have reserved memory.
absl::Status LoadModel(const Checkpoint& checkpoint, DenseBackend* dense, CpuExperts* experts,
                       WorkerTeam& team, const LoadOptions& options = {});

// What CpuExperts has to hold for this model.
ExpertsShape ExpertsShapeOf(const ModelShape& shape);

}  // namespace tandem
