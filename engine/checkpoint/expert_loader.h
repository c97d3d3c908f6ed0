// Brings packed experts into CpuExperts: mapped where they lie in the page cache, or copied into
// memory of their own (huge pages, bound to NUMA nodes).
#pragma once

#include <memory>

#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/experts.h"
#include "cpu_experts/packed_image.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/expert_load_options.h"
#include "engine/checkpoint/parallel.h"

namespace tandem {

// Whether these experts are to be mapped, on a machine whose experts are cut into `shards`. kAuto
// maps what can be mapped: an image whose shards are as many, on a single node (the page cache
// knows no nodes). Errors: INVALID_ARGUMENT when kMap is asked for and cannot be.
absl::StatusOr<bool> MapsExperts(const Checkpoint& checkpoint, ExpertsMemory memory, int shards);

// One layer. Counts bytes in `meter`. Errors: DATA_LOSS naming file and expert.
absl::Status MapPackedLayer(std::shared_ptr<const PackedLayer> image, VerifyExperts verify,
                            CpuExperts& experts, WorkerTeam& team, Meter& meter);
absl::Status CopyPackedLayer(const PackedLayer& image, VerifyExperts verify, CpuExperts& experts,
                             WorkerTeam& team, Meter& meter);

}  // namespace tandem
