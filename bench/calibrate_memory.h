// What a calibration measures of the memory and of the team (bench/calibration.h).
#pragma once

#include <string>

#include "bench/calibrate_experts.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "placement/machine.h"

namespace tandem {

// Seconds of a fork and join of an awake team.
double DispatchSeconds(WorkerTeam& team);

// read_gb_per_s of every node, by its own cores, and how fast the cores of one node read the memory
// of another. Only worth calling with several nodes. Errors: as CpuExperts::Create().
absl::Status CalibrateNodes(const ModelShape& shape, const ExpertCalibrationOptions& options,
                            Machine& machine);

// GB/s of reading the file at `path` past the page cache, in pieces of the size of an expert, as
// many at once as a disk likes. Errors name the path; FAILED_PRECONDITION if its file system has no
// direct reads.
absl::StatusOr<double> DiskReadRate(const std::string& path, double seconds);

}  // namespace tandem
