// How fast a machine is: what the cost model computes with. Measured by bench/calibration.h, or
// written down for a machine that is not at hand (machine_file.h). Rates are of all cores of all
// nodes together unless said; 0 means unknown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

// What the routed experts' kernel takes on this CPU, for experts of one size. Weights come from
// RAM (from the caches only where a whole layer of such experts fits there).
struct ExpertCurve {
  int32_t hidden = 0, intermediate = 0;
  struct Point {
    int32_t rows = 0;    // that one expert has in the step
    double seconds = 0;  // of that expert, all workers on it or on its likes
  };
  std::vector<Point> points;  // rows ascending, the first 1
  double call_s = 0;          // of a layer's Forward() besides: fork, joins
};

// What the host backend takes for one layer, for a dense side of one shape.
struct DenseCurve {
  // The sizes that it depends on (core/model_shape.h).
  struct Key {
    int32_t hidden = 0, heads = 0, q_lora_rank = 0, kv_lora_rank = 0;
    int32_t qk_nope_dim = 0, qk_rope_dim = 0, v_dim = 0;
    int32_t dense_intermediate = 0, shared_intermediate = 0, experts = 0, vocab = 0;
    int32_t weight_bits = 16;  // 8: INT8
    bool operator==(const Key&) const = default;
  } key;
  struct Point {
    int32_t rows = 0;        // of the step
    double attention_s = 0;  // decode rows, next to nothing cached
    double prefill_attention_s =
        0;  // the same number of rows as one slice of a prompt, from its start
    double dense_mlp_s = 0;
    double moe_s = 0;   // route, shared expert, adding up
    double head_s = 0;  // logits of all rows and their greedy tokens
  };
  std::vector<Point> points;   // rows ascending, the first 1
  double decode_kv_s = 0;      // attention, per decode row and cached token
  double decode_one_kv_s = 0;  // the same of a step of one row, which may not busy all workers
  double prefill_kv_s = 0;     // attention, per row of a prompt's slice and cached token before it
};

struct MachineRates {
  enum class Source { kUnknown, kGuessed, kSpecified, kCalibrated };
  Source source = Source::kUnknown;
  std::string when;  // of a calibration, UTC: "2026-03-01 12:00"

  // Limits of the formulas of docs/architecture.md; used where there is no curve.
  double expert_gops = 0;   // routed experts with many rows each; a multiply-add is two operations
  double dense_gflops = 0;  // dense side with many rows
  double dispatch_us = 0;   // a fork and join of all workers
  double step_us = 0;       // of a step besides the model: planning, tables
  double row_us = 0;        // of a row of a step besides the model: sampling, events
  double cross_node_gb_per_s = 0;  // one node's cores reading another node's memory
  double disk_gb_per_s = 0;        // reading experts from the disk that holds the model
  std::vector<ExpertCurve> experts;
  std::vector<DenseCurve> dense;

  // Null if there is none for exactly this size.
  const ExpertCurve* FindExperts(int32_t hidden, int32_t intermediate) const;
  const DenseCurve* FindDense(const DenseCurve::Key& key) const;
};

// How they are known: "calibrated 2026-03-01 12:00", "as described", "guessed".
std::string RatesText(const MachineRates& rates);

// Seconds for `rows` rows: linear between the points, the last slope behind them. REQUIRES: rows
// >= 0, at least one point; 0 rows take no time.
double SecondsFor(const ExpertCurve& curve, double rows);

}  // namespace tandem
