// What a batch's run was like, for people and for programs.
#pragma once

#include <cstdint>
#include <string>

#include "service/batch/batch_job.h"
#include "service/batch/batch_meter.h"

namespace tandem {

struct BatchReport {
  BatchProgress progress;
  BatchMeasures measures;
  std::string engine;          // its description
  int32_t max_in_flight = 0;   // sequences
  double predicted_s = 0;      // by the plan, before it began; 0: there was none
  int64_t peak_rss_bytes = 0;  // of the process

  std::string ToText() const;  // some lines
  std::string ToJson() const;
};

// A line of progress as JSON: what programs read while a batch runs.
std::string ProgressJson(const BatchProgress& progress);

}  // namespace tandem
