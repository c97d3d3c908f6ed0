// What a simulated policy means for decoding on a machine: the cost model with the hit rates that
// the policy had, and the experts that it sends.
//
//   T = max( T_step(hit rate of each layer) + S / BW_ram,  S / BW_pcie )
//       S: bytes sent per decoded token. They are sent beside the steps, so they cost the bandwidth
//       of the RAM that they are read from, and hold up the steps only where PCIe cannot keep up.
#pragma once

#include <cstdint>

#include "core/model_shape.h"
#include "core/status.h"
#include "placement/machine.h"
#include "placement/simulator.h"

namespace tandem {

// What a step costs there, where the simulator asks. Errors: INVALID_ARGUMENT for a machine without
// a GPU, or whose rates are not known; a shape that is not the trace's.
absl::Status CheckPredicts(const ModelIdentity& model, const ModelShape& shape,
                           const Machine& machine);

// Tokens per second of one sequence with `context` cached tokens; the dense side in BF16 on the
// GPU. `start`: the simulated hot set, for its sizes. REQUIRES: CheckPredicts().
double PredictDecode(const SimulationResult& result, const HotLists& start, const ModelShape& shape,
                     const Machine& machine, int64_t context);

// Fills in what an expert costs on the CPU and on the way to the GPU. REQUIRES: CheckPredicts().
void SetCosts(const ModelShape& shape, const Machine& machine, AdapterOptions& options);

}  // namespace tandem
