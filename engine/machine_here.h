// The machine that this process runs on, with its GPU and what is known of their rates.
#pragma once

#include <optional>

#include "placement/machine.h"

namespace tandem {

// Name and memory of the first GPU, if this build and this machine have one; no rates.
std::optional<GpuSpec> FirstGpu();

// Topology, the first GPU, and the rates of a calibration kept for this hardware, or guesses
// (placement/machine_file.h). Never fails.
Machine MachineHere();

}  // namespace tandem
