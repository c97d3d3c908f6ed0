// A routing trace laid out for replaying: what all layers share, and the choices of one layer in a
// row. Made by the simulator, read by its policies.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/routing_trace.h"

namespace tandem {

// Rows of all steps in one line.
struct TraceRows {
  std::vector<TraceRow> rows;
  std::vector<int64_t> step_begin;  // [steps + 1], first row of each step
  std::vector<uint8_t> counted;     // [rows]; whether its hits are told
  std::vector<uint8_t> joined;      // [steps]; whether a sequence decodes for the first time
  std::vector<uint8_t> decodes;     // [steps]; whether any row decodes
  int64_t decoded = 0;              // rows that decode

  int64_t steps() const { return std::ssize(step_begin) - 1; }
};
// With `held_out_only`, rows of every fourth request count (expert_profile.h), else all do.
TraceRows FlattenRows(const RoutingTrace& trace, bool held_out_only);

// An expert that a step uses.
struct ExpertUse {
  static constexpr uint32_t kNever = UINT32_MAX;
  uint32_t next_step = kNever;  // that uses it
  uint16_t next_pairs = 0;      // counted pairs of that step; 65,535 stands for more
  uint16_t expert = 0;
};

// One MoE layer.
struct LayerTrace {
  int32_t experts = 0, top_k = 0;
  std::vector<uint16_t> ids;       // [rows][top_k]
  std::vector<ExpertUse> uses;     // of each step the different experts, the last used first
  std::vector<int64_t> use_begin;  // [steps + 1], first use of each step
  std::vector<ExpertUse> first;    // [experts]; its first use as the next one
};
LayerTrace CutLayer(const RoutingTrace& trace, const TraceRows& rows, int32_t moe_layer);

}  // namespace tandem
