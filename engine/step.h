// Carries out a planned step: forward pass, then a token or scores for every row that wants one.
#pragma once

#include <vector>

#include "core/worker_team.h"
#include "engine/model.h"
#include "engine/routing_fan_out.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

namespace tandem {

// Rows whose logits are held at a time: 64 rows of 163,840 logits are 42 MB.
inline constexpr int32_t kLogitRows = 64;

struct StepCounts {
  int64_t prompt_tokens = 0;     // put into the cache
  int64_t generated_tokens = 0;  // sampled
  int64_t decode_rows = 0;       // others were a prompt's
  int64_t scores = 0;            // of tokens that were given
  int64_t cached_tokens = 0;     // of the rows' sequences, a sum over rows

  int64_t rows() const { return prompt_tokens + decode_rows; }
};

class StepRunner {
 public:
  // Both must outlive the runner.
  StepRunner(Model& model, WorkerTeam& team);
  ~StepRunner() { model_.set_observer(nullptr); }

  // Whoever wants to know what the steps route; between steps.
  RoutingFanOut& routing() { return routing_; }

  // Afterwards every sequence of the plan has its rows cached, and has its next token, its scores,
  // or an error of its own (then it has ended).
  StepCounts Run(const std::vector<PlannedSlice>& plan);

 private:
  // A row of the batch whose logits are wanted, and by whom.
  struct WantedRow {
    Sequence* sequence;
    int32_t row;
    int32_t position;  // of its token in the sequence
  };
  absl::Status RunAll(const std::vector<PlannedSlice>& plan);
  absl::Status Forward(const std::vector<PlannedSlice>& plan);  // fills wanted_
  absl::Status FinishRows(std::span<const WantedRow> wanted);
  // Asks the rows' constraints what may come: masks_, restricted_.
  void AskConstraints(std::span<const WantedRow> wanted);
  std::span<const uint32_t> Allowed(size_t row) const;  // empty: anything
  // Each row's token or scores, by the backend where that knows all that is wanted, else here.
  using RowResults = std::vector<absl::StatusOr<GeneratedToken>>;
  absl::StatusOr<RowResults> SampleOnBackend(std::span<const WantedRow> wanted,
                                             std::span<const int32_t> rows);
  absl::StatusOr<RowResults> SampleHere(std::span<const WantedRow> wanted,
                                        std::span<const int32_t> rows);
  absl::StatusOr<GeneratedToken> Finish(const WantedRow& wanted, std::span<const float> logits,
                                        std::span<const uint32_t> allowed, int worker);

  Model& model_;
  WorkerTeam& team_;
  std::vector<Sampler> samplers_;  // by worker
  std::vector<int32_t> token_ids_;
  std::vector<SequenceSlice> slices_;
  std::vector<RoutedRow> routed_rows_;
  RoutingFanOut routing_;
  std::vector<WantedRow> wanted_;
  std::vector<uint32_t> masks_;      // [rows, MaskWords(vocab)]: engine/token_constraint.h
  std::vector<uint8_t> restricted_;  // by row
  StepCounts counts_;
};

}  // namespace tandem
