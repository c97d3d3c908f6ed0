// What `tandem doctor` says of a machine's rates, and how it measures them.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/model_shape.h"
#include "core/status.h"
#include "placement/machine.h"

namespace tandem {

struct DoctorCalibration {
  std::optional<ModelShape> shape;         // none: K2.6's and a small one
  std::vector<int32_t> weight_bits = {8};  // of the dense side
  std::string disk_path;                   // "": the disk is not measured
};

// Measures, says on stderr what it is at, and keeps the rates (placement/machine_file.h). Errors:
// what bench/calibration.h and SaveCalibration() say.
absl::Status CalibrateThisMachine(const DoctorCalibration& options);

// The largest file of a checkpoint's folder, to time its disk by; "" if none is large enough.
std::string LargestFile(const std::string& folder);

// A table for the terminal, and the same for programs.
void PrintRates(const Machine& machine);
nlohmann::ordered_json RatesJson(const Machine& machine);

}  // namespace tandem
