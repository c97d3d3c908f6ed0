// Brings a checkpoint into the two sides that compute: dense weights into the DenseBackend, routed
// experts into CpuExperts, packed by all workers at once. Source pages leave the resident set as
// soon as they are used, so the peak stays near one copy of the model.
#pragma once

#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/experts.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/expert_loader.h"
#include "engine/checkpoint/progress.h"
#include "gpu_attention/dense_backend.h"

namespace tandem {

// Checks the whole checkpoint before the long part starts. `dense` or `experts` may be null: that
// side is then left out. `progress` (may be empty) is called from any worker, with bytes of the
// checkpoint read and to be read. Errors name file, tensor, expected and found; after one, neither
// side may be used.
// The experts of a packed image are mapped where MapsExperts() says so; then `experts` need not
// have reserved memory.
absl::Status LoadModel(const Checkpoint& checkpoint, DenseBackend* dense, CpuExperts* experts,
                       WorkerTeam& team, const ProgressFn& progress = {},
                       const ExpertLoadOptions& options = {});

// What CpuExperts has to hold for this model.
ExpertsShape ExpertsShapeOf(const ModelShape& shape);

}  // namespace tandem
