// Who holds and computes what: the planner's answer, and what an engine is set up by. Plain data;
// planner.h makes it, plan_file.h keeps it, plan_report.h explains it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.h"
#include "placement/model_identity.h"

namespace tandem {

enum class PlanObjective { kLatency, kThroughput };

struct PlanGoals {
  int64_t context = 32768;        // tokens that every sequence may reach
  int32_t concurrency = 1;        // sequences decoding at once
  int32_t max_step_tokens = 512;  // prefill rows of a step on the CPU
  int32_t weight_bits = 16;       // of the dense side: 16 or 8 (INT8, without a GPU)
  int64_t vram_reserve_bytes = int64_t{2} << 30;   // left alone on the GPU
  int64_t ram_reserve_bytes = int64_t{4} << 30;    // left to the system
  int64_t stream_buffer_bytes = int64_t{1} << 30;  // on the GPU
  PlanObjective objective = PlanObjective::kLatency;
  bool use_gpu = true;  // if the machine has one
  bool operator==(const PlanGoals&) const = default;
};

// A line of a budget. All lines of a place add up to what the plan takes of it.
struct BudgetLine {
  std::string place;  // "gpu", "node 0", "disk"
  std::string what;   // "attention, shared experts, head", "latent cache", ...
  int64_t bytes = 0;
  std::string why;  // a clause: "65,536 tokens x 70,272 B"
};

// Where an expert's bytes lie among the NUMA nodes (cpu_experts/experts.h has the same words).
enum class NumaHome : uint8_t { kSharded = 0, kWhole = 1, kReplicated = 2 };
struct NumaChoice {
  NumaHome home = NumaHome::kSharded;
  int32_t node = 0;  // kWhole
};

// Where a step's time goes, in seconds; the sides that overlap are not added up.
struct StepTime {
  double attention_s = 0;    // all layers, dense MLPs included
  double shared_s = 0;       // router, shared experts
  double cpu_experts_s = 0;  // cold experts, disk reads included
  double disk_s = 0;         // of which waiting for the disk
  double hot_experts_s = 0;  // on the GPU, beside the CPU's
  double pcie_s = 0;         // prefill: experts sent over
  double handoff_s = 0;
  double head_s = 0;   // head and sampling
  double other_s = 0;  // the engine's own
  double total_s = 0;
  std::string limit;  // what most of it waits for: "RAM bandwidth", ...
};

struct RatePoint {
  int32_t batch = 1;
  int64_t context = 0;           // cached tokens per sequence (decode), prompt length (prefill)
  double decode_tok_per_s = 0;   // of all sequences together
  double prefill_tok_per_s = 0;  // of one prompt of `context` tokens
  StepTime decode;
  StepTime prefill;  // of the whole prompt
};

struct PrefillPolicy {
  bool stream = false;            // send experts to the GPU for long prompts
  int64_t break_even_tokens = 0;  // from here on a streamed pass beats the CPU; 0: never
  int32_t chunk_tokens = 512;     // rows of a step
};

struct Plan {
  ModelIdentity model;
  std::string machine;     // its name
  std::string machine_id;  // of the hardware; "" for a described one
  std::string rates;       // "calibrated 2026-03-01 12:00", "guessed"
  PlanGoals goals;
  bool gpu = false;                        // the dense side lies there
  int64_t kv_tokens = 0;                   // of all sequences together
  std::vector<std::vector<ExpertId>> hot;  // [layers], by falling use; empty without a GPU
  bool hot_experts_leave_ram = false;
  std::vector<std::vector<NumaChoice>> numa;   // [layers][experts]; empty: all sharded
  std::vector<std::vector<ExpertId>> on_disk;  // [layers], what RAM does not hold
  PrefillPolicy prefill;
  std::vector<BudgetLine> budget;
  // Share of routed pairs that hot experts take: on held-out tokens where the profile has any
  // (`hit_rate_held_out`), else on its own, else the share of experts.
  double decode_hit_rate = 0, prefill_hit_rate = 0;
  bool hit_rate_held_out = false;
  std::string profile;  // what it was made from, in words; "" without one
  std::vector<RatePoint>
      rates_at;  // batch 1, 8, 32 x context 128, 4096, goals.context, as far as they fit
  std::vector<std::string> notes;  // sentences: what limits, what was left out and why

  int64_t hot_experts() const;  // of all layers
  int64_t disk_experts() const;
};

}  // namespace tandem
