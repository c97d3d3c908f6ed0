// What the engine's loop takes besides the model (bench/calibration.h).
#pragma once

#include "core/status.h"

namespace tandem {

struct EngineCalibration {
  double step_us = 0;  // of a step: planning, tables, handing over between threads
  double row_us = 0;   // of a row: bookkeeping, text, events
};

// Runs the real loop (engine/engine_loop.h) with a model that computes nothing. `seconds`: to
// measure for. Errors: whatever the engine reports.
absl::StatusOr<EngineCalibration> CalibrateEngine(int threads, double seconds);

}  // namespace tandem
