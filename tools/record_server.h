// Records a running server for a while, over gRPC. No gRPC types here.
#pragma once

#include <string>

#include "core/status.h"
#include "placement/expert_profile.h"

namespace tandem {

struct RecordServerOptions {
  std::string address;
  double seconds = 60;     // Ctrl-C ends it sooner
  std::string label;       // of requests that have none
  std::string trace_path;  // "": no trace
};

// Blocks. Errors: the server's, and those of the trace's file.
absl::StatusOr<ExpertProfile> RecordServer(const RecordServerOptions& options);

}  // namespace tandem
