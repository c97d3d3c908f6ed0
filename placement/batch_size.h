// How many sequences of a batch job to keep in flight, and how long the job then takes: the cost
// model's steps, added up. Pure functions; nothing is measured here.
//
//   prompts   R P (1 - c) rows in steps of `chunk` rows, each priced as a prompt that fills them
//   answers   R A / n steps of n rows with P + A / 2 cached tokens each
//   together  a step with prompt rows carries n decode rows too, and these then cost what its other
//             rows do: of the answers' steps as many are saved, and so much is added
//   fits      n sequences hold n ((1 - c) P + A / 2) + c P tokens on average, in whole pages
//
// R requests, P and A mean tokens of prompt and answer, c the share of the prompts that the prefix
// cache holds. The end of a job, when fewer and fewer are left, is taken as full.
#pragma once

#include <cstdint>
#include <vector>

#include "core/status.h"
#include "placement/cost_model.h"

namespace tandem {

struct BatchLoad {
  int64_t requests = 0;
  double prompt_tokens = 0, answer_tokens = 0;  // means
  double cached_share = 0;                      // of the prompts' tokens; in [0, 1]
};

// What the engine allows.
struct BatchRoom {
  int64_t kv_tokens = 0;       // that the latent cache holds
  int32_t max_sequences = 64;  // at once
  int32_t chunk_tokens = 512;  // prompt rows of a step
  bool stream = false;         // prompts may send experts to the GPU
};

struct BatchPrediction {
  int32_t sequences = 0;  // in flight
  int64_t fit = 0;        // that the cache has room for
  double prompt_s = 0, answer_s = 0;
  double total_s() const { return prompt_s + answer_s; }
  double requests_per_s = 0, answer_tok_per_s = 0;  // over the whole job
  StepTime step;                                    // of decode rows alone
};

// With so many in flight. REQUIRES: sequences > 0, a job that CheckBatchLoad() is content with.
BatchPrediction PredictBatch(const CostModel& costs, const Residences& where, const BatchLoad& job,
                             const BatchRoom& limits, int32_t sequences);

// The fewest whose job ends within 2 % of the earliest that the cache and the limits allow; one at
// least. Errors: INVALID_ARGUMENT naming what is wrong with the job or the limits.
absl::StatusOr<BatchPrediction> ChooseBatchSize(const CostModel& costs, const Residences& where,
                                                const BatchLoad& job, const BatchRoom& limits);

// The same for a plan, by whose goals the dense side is held, with the routing of a profile (no
// tokens: all experts alike). `limits.chunk_tokens` is the caller's; streaming is the plan's.
absl::StatusOr<BatchPrediction> ChooseBatchSize(const ModelShape& shape, const Machine& machine,
                                                const Plan& plan, const RoutingCounts& decode,
                                                const RoutingCounts& prefill, const BatchLoad& job,
                                                BatchRoom limits);

absl::Status CheckBatchLoad(const BatchLoad& job, const BatchRoom& limits);

}  // namespace tandem
