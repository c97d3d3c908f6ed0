// The layer files of a packed image.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/packed_image.h"
#include "engine/checkpoint/parallel.h"
#include "engine/checkpoint/weight_reader.h"

namespace tandem {

// Writes one layer's experts to `path`, each worker packing experts of its own. Takes up what an
// earlier run left: a finished file or the experts of a .part file, if their checksums hold.
// Counts bytes of experts in `meter`, and in `kept_bytes` those that were there.
// REQUIRES: CheckPackedInfo(info).
absl::Status PackLayer(const Checkpoint& checkpoint, const WeightReader& reader,
                       const PackedLayerInfo& info, const std::string& path, WorkerTeam& team,
                       Meter& meter, std::atomic<int64_t>& kept_bytes);

// Holds all experts of a layer against their checksums.
absl::Status VerifyLayer(const PackedLayer& layer, WorkerTeam& team, Meter& meter);

}  // namespace tandem
