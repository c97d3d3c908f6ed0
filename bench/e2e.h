// End to end: load a checkpoint, prefill a prompt, decode, and hold the rates against this
// machine's own roofline, measured in the same run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/predictions.h"
#include "bench/roofline.h"
#include "bench/step_rates.h"
#include "core/status.h"
#include "engine/engine.h"

namespace tandem {

struct E2eOptions {
  EngineOptions engine;
  int32_t prompt_tokens = 512;
  int32_t generate_tokens = 32;
  int32_t runs = 3;                       // medians over these, after one short warm-up
  uint64_t seed = 1;                      // of the random prompts
  std::optional<StepRatesOptions> steps;  // rates by batch and context besides
  int32_t step_rounds = 3;                // of these; medians
  // By whose rates the figures are predicted; none: they are not. The plan is engine.plan.
  std::optional<Machine> machine;
  // Measures these rates on the model's shape, before and after the run and between the rounds of
  // `steps`; the predicted times are then the means of all.
  bool calibrate = false;
  RoutingCounts decode_routing = {}, prefill_routing = {};  // of a profile, for the prediction
  std::string trace_path;  // Chrome/Perfetto JSON of one more, untimed run; "" for none
};

struct E2eResult {
  double load_s = 0;
  int64_t checkpoint_bytes = 0;
  int64_t peak_rss_bytes = 0;    // before the roofline is measured
  double prefill_tok_per_s = 0;  // median; prompt tokens / time to the first token
  double decode_tok_per_s = 0;   // median; later tokens / their time
  double prefill_spread = 0;     // (max - min) / median over the runs
  double decode_spread = 0;
  int64_t read_bytes_per_token = 0;  // weights that one decoded token must read
  double decode_gb_per_s = 0;
  double decode_fraction_of_roofline = 0;  // of the read bandwidth
  double prefill_gops = 0;                 // 2 x weights used per token x prefill rate
  std::string engine;                      // kernels, dtypes, threads
  // By the cost model; 0: not predicted.
  double predicted_prefill_tok_per_s = 0, predicted_decode_tok_per_s = 0;
  std::string predicted_by;  // whose rates: "rates calibrated in this run"
  std::vector<StepRate> steps;
  Roofline roofline;

  std::string ToText() const;
  std::string ToJson() const;
};

absl::StatusOr<E2eResult> RunE2e(const E2eOptions& options);

}  // namespace tandem
