// The dense side's part of a calibration (bench/calibration.h).
#pragma once

#include "core/model_shape.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "placement/machine_rates.h"

namespace tandem {

struct DenseCalibration {
  DenseCurve curve;
  double gflops = 0;  // of many rows
};

// The host backend with a dense layer and one or two MoE layers of the shape (all layers of a small
// model, which may be in the caches), random weights of 16 or 8 bits, measured for `seconds` and
// what a single run of the longest points takes beyond that.
absl::StatusOr<DenseCalibration> CalibrateDense(const ModelShape& shape, int32_t weight_bits,
                                                double seconds, WorkerTeam& team);

}  // namespace tandem
