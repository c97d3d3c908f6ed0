// Writes a checkpoint as a packed image: a model folder of its own whose routed experts lie on disk
// as they do in RAM (cpu_experts/packed_image.h), so that a start copies or maps them and packs
// nothing. The original is then no longer needed.
//
// A killed or failed run leaves a folder that the same call takes up again: what is finished is
// checked and kept. On a finished image the call does nothing.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"
#include "core/worker_team.h"
#include "engine/checkpoint/progress.h"

namespace tandem {

struct PackOptions {
  std::string model_dir;  // a checkpoint, or a packed image to be cut anew
  std::string out_dir;    // new, empty, or an unfinished image of the same checkpoint
  int32_t shards = 1;     // per expert; as many as the machine has NUMA nodes
};

struct PackReport {
  bool was_complete = false;  // nothing had to be done
  int64_t expert_bytes = 0;   // of the image
  int64_t kept_bytes = 0;     // of these, what an earlier run had written
};

// Errors name file, expected and found. FAILED_PRECONDITION: `out_dir` is the checkpoint itself, or
// an image of another one, or the checkpoint changed since the first run; ALREADY_EXISTS: it holds
// something else; RESOURCE_EXHAUSTED: disk full (found before the long part where the file system
// tells); ABORTED: another process packs into it.
absl::StatusOr<PackReport> PackModel(const PackOptions& options, WorkerTeam& team,
                                     const ProgressFn& progress = {});

// Reads a whole image and holds every byte against its checksum. Errors: DATA_LOSS naming the first
// file and expert that differ.
absl::Status VerifyImage(const std::string& dir, WorkerTeam& team, const ProgressFn& progress = {});

}  // namespace tandem
