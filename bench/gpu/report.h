// The lines of a GPU bench: what was timed, and how near it comes to what the device can do.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

// What the device reaches at best, measured in the same run; 0: not measured.
struct GpuRoofs {
  double memory_gb_per_s = 0;
  double tensor_tflop_per_s = 0;  // BF16 products
};

// Names of the rows that the roofs come from.
inline constexpr char kMemoryRoofRow[] = "device memory";
inline constexpr char kTensorRoofRow[] = "tensor cores";

struct GpuBenchRow {
  std::string what;   // e.g. "MLA decode"
  std::string shape;  // e.g. "8 rows, 32768 tokens"
  double us = 0;      // median
  double low_us = 0, high_us = 0;
  // Of one run. The larger of bytes / memory roof and flops / tensor roof is what it is held to.
  double bytes = 0, flops = 0;
  bool on_device = true;  // false: bytes cross a link or are read by the CPU, no roof is known
  // Goals, 0 for none: percent of the roof, at most so many us, at least so many GB/s.
  double goal_percent = 0, goal_us = 0, goal_gb_per_s = 0;
  std::string note;

  double gb_per_s() const { return us > 0 ? bytes / us * 1e-3 : 0; }
  double tflop_per_s() const { return us > 0 ? flops / us * 1e-6 : 0; }
};

// Takes the roofs from the rows that measure them.
GpuRoofs RoofsOf(const std::vector<GpuBenchRow>& rows);
// Percent of the nearer roof; 0 where none is known.
double PercentOfRoof(const GpuBenchRow& row, const GpuRoofs& roofs);
// One line of the table. Goals are judged only if `judge`.
std::string ToText(const GpuBenchRow& row, const GpuRoofs& roofs, bool judge);
std::string ToJson(const GpuBenchRow& row, const GpuRoofs& roofs);
std::string JsonString(const std::string& text);

// A row as one line for a pipe, and back. Errors: INVALID_ARGUMENT.
std::string Pack(const GpuBenchRow& row);
absl::StatusOr<GpuBenchRow> Unpack(const std::string& line);

}  // namespace tandem
