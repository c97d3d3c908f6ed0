// A routing trace: the experts of every token and layer, step by step, as the engine ran them. 2
// bytes per chosen expert: 960 B per token for Kimi K2.6. Input of the simulator.
//
//   "TANDEM\ntrace\n" | u32 version | blocks: u32 bytes | u32 XXH32 of the rest | the rest
//   the first block: the model's identity (protobuf)
//   a step's block:  u32 rows | rows x {u32 sequence, u8 phase} | u16 ids [rows][moe_layers][top_k]
//   the last block:  u32 0 | u32 steps
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "placement/model_identity.h"
#include "placement/routing_observer.h"

namespace tandem {

struct TraceRow {
  uint32_t sequence = 0;
  Phase phase = Phase::kPrefill;
};

struct TraceStep {
  std::vector<TraceRow> rows;
  std::vector<uint16_t> ids;  // [rows][moe_layers][top_k]
};

struct RoutingTrace {
  ModelIdentity model;
  std::vector<TraceStep> steps;
  int64_t tokens() const;
};

// Errors: as ReadSealedFile(); DATA_LOSS names the step that is cut short or damaged.
absl::StatusOr<RoutingTrace> ReadRoutingTrace(const std::string& path);

// Writes what it observes, whole steps only; the file appears at Finish(). An error of the disk
// ends the writing and is told by Finish().
class TraceWriter : public RoutingObserver {
 public:
  static absl::StatusOr<std::unique_ptr<TraceWriter>> Create(const std::string& path,
                                                             const ModelIdentity& model);
  virtual absl::Status Finish() = 0;  // once; nothing is observed behind it
};

}  // namespace tandem
