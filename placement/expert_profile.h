// How a model's experts were used: what ProfileRecorder counts, profile files hold, and the planner
// reads. Plain data; profile_file.h reads and writes it, profile_report.h shows it.
//
// Every fourth request is held out: its counts are kept apart, and hit rates are only ever told on
// those, as a ranking always looks good on the data that it was made from.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "placement/model_identity.h"
#include "placement/routing_observer.h"

namespace tandem {

enum class Split : uint8_t { kTrain = 0, kHeldOut = 1 };
inline constexpr int kSplits = 2;
inline constexpr uint64_t kHeldOutEvery = 4;  // requests 3, 7, 11, ... are held out

struct RoutingCounts {
  int64_t tokens = 0;         // rows, each routed in every MoE layer
  std::vector<int64_t> hits;  // [moe_layers * experts]; of a layer they sum up to tokens * top_k
  std::vector<double> mass;   // same; sums of the router's weights (routed_scaling included)

  int64_t& hit(int64_t moe_layer, int64_t expert, int64_t experts) {
    return hits[moe_layer * experts + expert];
  }
};

struct LabelProfile {
  std::string name;  // "" for requests without a label
  std::array<std::array<RoutingCounts, kPhases>, kSplits> counts;
  const RoutingCounts& of(Split split, Phase phase) const {
    return counts[static_cast<int>(split)][static_cast<int>(phase)];
  }
};

// Steps of [2^i, 2^(i+1)) rows at place i.
struct DistinctExperts {
  int64_t steps = 0;
  int64_t rows = 0;     // of these steps
  double distinct = 0;  // sum over steps of the mean number of different experts per layer
};
inline constexpr int kRowBuckets = 16;

// Decode: how many decoded tokens ago, any sequence's, the layer used this expert last. Distances
// [2^i, 2^(i+1)) at place i; the last place holds all longer ones and first uses.
inline constexpr int kReuseBuckets = 20;

// Two experts used by the same token: of one layer, or of a layer and the next.
struct ExpertPair {
  int32_t moe_layer = 0;    // of `first`
  bool next_layer = false;  // `second` is of the layer behind
  int32_t first = 0, second = 0;
  int64_t count = 0;  // of the sampled tokens
};

// A stretch of decoded tokens, in order of time: drift shows between them.
struct ProfileWindow {
  int64_t tokens = 0;
  std::vector<int32_t> hits;  // [moe_layers * experts]
};
inline constexpr int kMaxWindows = 64;  // then neighbours are merged, and windows get longer

struct ExpertProfile {
  ModelIdentity model;
  std::vector<LabelProfile> labels;
  std::array<DistinctExperts, kRowBuckets> distinct{};
  std::vector<int64_t> reuse;     // [moe_layers * kReuseBuckets]
  int64_t pair_tokens = 0;        // tokens whose pairs were counted
  std::vector<ExpertPair> pairs;  // the most frequent of each layer and kind
  int64_t window_tokens = 0;      // of a full window
  std::vector<ProfileWindow> windows;
  int64_t recorded_unix_s = 0;  // when the recording began

  int64_t tokens() const;  // all labels, splits and phases
};

// Counts of several labels, splits and phases added up; nullptr / -1 stand for all of them.
// `label` is an index of profile.labels.
RoutingCounts SumCounts(const ExpertProfile& profile, int label = -1, const Split* split = nullptr,
                        const Phase* phase = nullptr);

}  // namespace tandem
