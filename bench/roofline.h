// What this machine can do at most, measured: the yardstick of every other figure.
//   read bandwidth   all workers read a buffer larger than the caches with the widest loads
//   integer peak     independent chains of the widest INT8 dot instruction, from registers
//   tile peak        the same with AMX tiles, where there are any
//   float peak       independent chains of FMA
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"
#include "core/worker_team.h"

namespace tandem {

struct Roofline {
  std::string isa;  // of the integer peak, e.g. "avx512_vnni"
  int threads = 0;
  double read_gb_per_s = 0.0;  // best pass
  double read_median_gb_per_s = 0.0;
  double int8_gops = 0.0;  // a multiply-add is two operations
  double tile_gops = 0.0;  // AMX INT8; 0 without AMX
  double f32_gflops = 0.0;

  // Keeps the better figure of two measurements: on a shared machine the roof is measured more
  // than once around the thing itself, and the highest figure is nearest to the truth.
  void TakeBest(const Roofline& other);

  std::string ToText() const;
  std::string ToJson() const;
};

struct RooflineOptions {
  int64_t buffer_bytes = 1 << 30;
  int passes = 9;
};

// Takes about a second. Errors: UNIMPLEMENTED without AVX2, RESOURCE_EXHAUSTED for memory.
absl::StatusOr<Roofline> MeasureRoofline(WorkerTeam& team, const RooflineOptions& options = {});

}  // namespace tandem
