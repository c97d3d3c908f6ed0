// Ways to choose a layer's hot experts while a trace is replayed. Each has the same room for the
// whole trace; what it changes behind a step is found by the next one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/ids.h"
#include "placement/layer_trace.h"

namespace tandem {

enum class HotPolicy {
  kStatic,     // never changes
  kPerPrompt,  // before a sequence's first decode step: what the prompts of those decoding used
               // most
  kLru,        // a missed expert takes the place of the one used longest ago
  kEma,        // ExpertAdapter: all layers together, so it is not made here
  kBelady,     // knows the future: keeps what is used soonest, brings in missed experts only
};
inline constexpr HotPolicy kHotPolicies[] = {HotPolicy::kStatic, HotPolicy::kPerPrompt,
                                             HotPolicy::kLru, HotPolicy::kEma, HotPolicy::kBelady};
std::string_view Name(HotPolicy policy);  // "static", "per-prompt", "lru", "ema", "belady"

// The hot experts of a layer, and how many were brought in since the start.
class LayerHotSet {
 public:
  LayerHotSet(int32_t experts, std::span<const ExpertId> start);

  bool has(int32_t expert) const { return hot_[expert]; }
  std::span<const int32_t> list() const { return list_; }
  int32_t capacity() const { return static_cast<int32_t>(list_.size()); }
  int64_t moves() const { return moves_; }

  // Replaces the worst of the set by `candidates` (the best first, none of them in the set), as
  // long as those are better. rank(expert): a number, lower is better.
  template <class Rank>
  void Admit(std::span<const int32_t> candidates, const Rank& rank);

 private:
  std::vector<uint8_t> hot_;  // [experts]
  std::vector<int32_t> list_;
  int64_t moves_ = 0;
};

class LayerPolicy {
 public:
  virtual ~LayerPolicy() = default;
  virtual void BeforeStep(int64_t /*step*/, LayerHotSet& /*hot*/) {}
  virtual void AfterStep(int64_t /*step*/, LayerHotSet& /*hot*/) {}
};

// `start` (what is hot at first, the most used first) and the traces must outlive it. REQUIRES: not
// kEma.
std::unique_ptr<LayerPolicy> MakeLayerPolicy(HotPolicy policy, const TraceRows& rows,
                                             const LayerTrace& layer,
                                             std::span<const ExpertId> start);

}  // namespace tandem
