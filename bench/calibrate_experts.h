// The routed experts' part of a calibration (bench/calibration.h).
#pragma once

#include <functional>
#include <string>

#include "core/model_shape.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/activation.h"
#include "placement/machine_rates.h"

namespace tandem {

struct ExpertCalibrationOptions {
  ExpertActivations activations = ExpertActivations::kInt8;
  std::string kernel;
  double seconds = 5;  // to measure for, loading apart
};

struct ExpertCalibration {
  ExpertCurve curve;
  double read_gb_per_s = 0;  // weights of experts with one row each
  double gops = 0;           // of experts with many rows
};

// Experts of the shape's size, as many as the model has but no more than 1.5 GB, so that they are
// in the caches exactly if the model's would be.
absl::StatusOr<ExpertCalibration> CalibrateExperts(const ModelShape& shape,
                                                   const ExpertCalibrationOptions& options,
                                                   WorkerTeam& team);
// Only how fast they are read: of one row each.
absl::StatusOr<double> ExpertReadRate(const ModelShape& shape,
                                      const ExpertCalibrationOptions& options, WorkerTeam& team);
// The same experts as a load for what is measured beside them: each call is a layer of a decode
// step, one row, always other experts. REQUIRES: the team outlives it.
absl::StatusOr<std::function<void()>> ExpertLoad(const ModelShape& shape,
                                                 const ExpertCalibrationOptions& options,
                                                 WorkerTeam& team);

}  // namespace tandem
