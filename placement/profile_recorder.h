// Counts how a running model uses its experts: makes an ExpertProfile.
//
// An observer of the engine: all calls come from the engine's thread. A step is counted as a whole
// at its end, or not at all: a step that failed, or that names an expert that does not exist, is
// left out (the latter on the log). What counting costs: docs/placement.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "placement/expert_profile.h"
#include "placement/pair_counter.h"
#include "placement/routing_observer.h"
#include "placement/step_routing.h"

namespace tandem {

// Labels come from clients: beyond so many, new ones are counted as kOtherLabels.
inline constexpr int kMaxLabels = 64;
inline constexpr char kOtherLabels[] = "(others)";
// Of the first windows. Windows end with steps, so one may have some tokens more.
inline constexpr int64_t kFirstWindowTokens = 64;

class ProfileRecorder : public RoutingObserver {
 public:
  // Requests without a label are counted under `default_label`.
  explicit ProfileRecorder(const ModelIdentity& model, std::string default_label = "");

  void BeginStep(std::span<const RoutedRow> rows) override;
  void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
              View<const float, 2> weights) override;
  void EndStep() override;

  // What was counted so far. On the engine's thread between two steps (Engine::BetweenSteps), or
  // on any thread once the engine observes no more; takes milliseconds (K2.6: some 40).
  ExpertProfile Snapshot() const;

  // Any thread.
  int64_t tokens() const { return tokens_.load(std::memory_order_relaxed); }
  int64_t dropped_steps() const { return dropped_steps_.load(std::memory_order_relaxed); }

 private:
  void FindCounts();
  int LabelIndex(std::string_view label);
  int64_t CountLayer(int32_t moe_layer);  // returns how many different experts the step used
  void CountDecoded(int32_t moe_layer);
  void CountDistinct(int64_t rows, int64_t distinct);
  void EndWindow();

  const ModelIdentity model_;
  const std::string default_label_;
  const int64_t cells_;  // moe_layers * experts
  const int64_t began_unix_s_;

  StepRouting step_;
  std::vector<LabelProfile> labels_;        // counts are sized when first used
  std::vector<RoutingCounts*> row_counts_;  // of the step; into labels_
  std::vector<int32_t> decoded_rows_;       // of the step
  std::vector<int64_t> seen_in_step_;       // [cells] the last step that used an expert
  std::vector<int64_t> last_decoded_;       // [cells] decoded tokens until its last use; 0: none
  std::vector<int64_t> reuse_;              // [moe_layers * kReuseBuckets]
  std::array<DistinctExperts, kRowBuckets> distinct_{};
  PairCounter pairs_;
  std::vector<ProfileWindow> windows_;  // the last is being filled
  int64_t window_tokens_ = kFirstWindowTokens;
  int64_t steps_ = 0, decoded_ = 0;
  std::atomic<int64_t> tokens_{0}, dropped_steps_{0};
};

}  // namespace tandem
