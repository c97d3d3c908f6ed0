// Tells which model a checkpoint is: its shape, and a hash over the routers of its first and last
// MoE layer, which every training changes and packing does not.
#pragma once

#include "core/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "placement/model_identity.h"

namespace tandem {

// Reads two small tensors. Errors: as WeightReader::Layer().
absl::StatusOr<ModelIdentity> IdentifyModel(const Checkpoint& checkpoint);

}  // namespace tandem
