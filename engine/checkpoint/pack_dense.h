// What a packed image holds besides the routed experts: all other tensors as they were, in
// safetensors files with an index, and the checkpoint's small files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/worker_team.h"
#include "engine/checkpoint/packed_manifest.h"
#include "engine/checkpoint/parallel.h"
#include "engine/checkpoint/weight_reader.h"

namespace tandem {

// One safetensors file to be written.
struct DenseFile {
  std::string name;
  std::string header;  // length and JSON
  std::vector<std::pair<std::string, const TensorRef*>> tensors;
  int64_t bytes = 0;  // of the file
};

// Every tensor but the routed experts', in the order of the checkpoint, in files of at most
// `max_bytes` (more only for a single larger tensor). Always the same for the same checkpoint.
std::vector<DenseFile> PlanDenseFiles(const Checkpoint& checkpoint, const WeightReader& reader,
                                      int64_t max_bytes);

// Writes these files, their index and copies of the small files into `out_dir`; files that are
// there with the right content are kept. config.json comes last. Counts bytes of tensors in
// `meter`.
absl::StatusOr<std::vector<PackedFile>> WriteDenseSide(const Checkpoint& checkpoint,
                                                       const std::vector<DenseFile>& files,
                                                       const std::string& out_dir, WorkerTeam& team,
                                                       Meter& meter);

}  // namespace tandem
