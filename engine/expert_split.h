// Which experts of a larger step the device computes: the hot ones, and those that it pays to send
// over. Smaller steps need none of this: there the device finds its hot experts itself.
#pragma once

#include <vector>

#include "core/model_shape.h"
#include "core/status.h"
#include "cpu_experts/experts.h"
#include "gpu_attention/expert_device.h"
#include "placement/prefill_split.h"

namespace tandem {

enum class StreamExperts {
  kAuto,    // by cost
  kNever,   //
  kAlways,  // every expert that has rows: for tests and measurements
};

struct ExpertSplitOptions {
  StreamExperts stream = StreamExperts::kAuto;
  SplitCosts costs;  // first guesses; the CPU's are corrected by what its layers take
};

class ExpertSplit {
 public:
  // Both must outlive the object.
  ExpertSplit(const ModelShape& shape, ExpertDevice& device, const CpuExperts& experts,
              const ExpertSplitOptions& options);

  // Puts the device's share of a layer into its queue. Returns what is left for the CPU: the same
  // rows with the other experts' ids as ~id; valid until the next call. Errors of the device.
  absl::StatusOr<RoutedTokens> Split(LayerId layer, int part, const RoutedTokens& routed);
  // What the CPU's experts of the last Split() took.
  void NoteCpuSeconds(double seconds);

  int64_t streamed_experts() const { return streamed_; }  // so far

 private:
  void Count(const RoutedTokens& routed);
  void ChooseStreamed(LayerId layer);

  ExpertDevice& device_;
  const CpuExperts& experts_;
  const ExpertSplitOptions options_;
  double cpu_scale_ = 1;        // measured over predicted
  double predicted_cpu_s_ = 0;  // of the last split, unscaled; 0: no split
  int64_t streamed_ = 0;
  std::vector<int32_t> rows_;      // [experts] of cold experts
  std::vector<int32_t> hot_rows_;  // [experts]
  std::vector<bool> on_device_;    // [experts]
  std::vector<ExpertDevice::Work> work_;
  std::vector<ExpertShards> bytes_;  // what work_ points to
  std::vector<int32_t> left_;        // [tokens, top_k]
};

}  // namespace tandem
