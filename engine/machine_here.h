// The machine that this process runs on, with its GPU and what is known of their rates.
#pragma once

#include "placement/machine.h"

namespace tandem {

// Topology, the first GPU, and the rates of a calibration kept for this hardware, or guesses
// (placement/machine_file.h). Never fails.
Machine MachineHere();

}  // namespace tandem
