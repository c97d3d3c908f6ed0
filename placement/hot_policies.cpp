#include "placement/hot_policies.h"

#include <algorithm>
#include <unordered_map>

#include "core/status.h"

namespace tandem {

std::string_view Name(HotPolicy policy) {
  switch (policy) {
    case HotPolicy::kStatic:
      return "static";
    case HotPolicy::kPerPrompt:
      return "per-prompt";
    case HotPolicy::kLru:
      return "lru";
    case HotPolicy::kEma:
      return "ema";
    case HotPolicy::kBelady:
      return "belady";
  }
  return "?";
}

LayerHotSet::LayerHotSet(int32_t experts, std::span<const ExpertId> start) : hot_(experts) {
  for (const ExpertId expert : start) {
    TANDEM_CHECK(expert.value >= 0 && expert.value < experts && !hot_[expert.value],
                 "a layer's hot experts are different ones of its own");
    hot_[expert.value] = 1;
    list_.push_back(expert.value);
  }
}

template <class Rank>
void LayerHotSet::Admit(std::span<const int32_t> candidates, const Rank& rank) {
  const size_t most = std::min(candidates.size(), list_.size());
  // The worst first. What comes in is better than all that would go out behind it.
  std::partial_sort(list_.begin(), list_.begin() + most, list_.end(),
                    [&](int32_t a, int32_t b) { return rank(a) > rank(b); });
  for (size_t i = 0; i < most && rank(candidates[i]) < rank(list_[i]); ++i) {
    hot_[list_[i]] = 0;
    list_[i] = candidates[i];
    hot_[list_[i]] = 1;
    ++moves_;
  }
}

namespace {

class Lru final : public LayerPolicy {
 public:
  // The first of `start` counts as the last used.
  Lru(const LayerTrace& layer, std::span<const ExpertId> start)
      : layer_(layer), idle_since_(layer.experts) {
    for (const ExpertId expert : start) idle_since_[expert.value] = ++clock_;
  }

  void AfterStep(int64_t step, LayerHotSet& hot) override {
    missed_.clear();
    const int64_t begin = layer_.use_begin[step], end = layer_.use_begin[step + 1];
    for (int64_t i = begin; i < end; ++i) {  // the last used first
      const int32_t expert = layer_.uses[i].expert;
      idle_since_[expert] = -(clock_ + end - i);
      if (!hot.has(expert)) missed_.push_back(expert);
    }
    clock_ += end - begin;
    hot.Admit(missed_, [this](int32_t expert) { return idle_since_[expert]; });
  }

 private:
  const LayerTrace& layer_;
  int64_t clock_ = 0;
  std::vector<int64_t> idle_since_;  // minus the time of the last use; above 0 before the first
  std::vector<int32_t> missed_;
};

// Farthest next use goes first. A use that counts for nothing is as good as none: the expert can be
// brought in by it. Of those used in the same step the one with more pairs stays.
class Belady final : public LayerPolicy {
 public:
  explicit Belady(const LayerTrace& layer) : layer_(layer) {
    for (const ExpertUse& first : layer.first) rank_.push_back(RankOf(first));
  }

  void AfterStep(int64_t step, LayerHotSet& hot) override {
    missed_.clear();
    for (int64_t i = layer_.use_begin[step]; i < layer_.use_begin[step + 1]; ++i) {
      const ExpertUse& use = layer_.uses[i];
      rank_[use.expert] = RankOf(use);
      if (!hot.has(use.expert)) missed_.push_back(use.expert);
    }
    const auto rank = [this](int32_t expert) { return rank_[expert]; };
    std::ranges::stable_sort(missed_, {}, rank);
    hot.Admit(missed_, rank);
  }

 private:
  static uint64_t RankOf(const ExpertUse& use) {
    if (use.next_pairs == 0) return UINT64_MAX;
    return (uint64_t{use.next_step} << 16) + (UINT16_MAX - use.next_pairs);
  }

  const LayerTrace& layer_;
  std::vector<uint64_t> rank_;  // [experts]
  std::vector<int32_t> missed_;
};

// Whenever a sequence comes to decode, the set becomes what the prompts of all that decode in that
// step used most, each prompt with the same say.
class PerPrompt final : public LayerPolicy {
 public:
  PerPrompt(const TraceRows& rows, const LayerTrace& layer) : rows_(rows), layer_(layer) {}

  void BeforeStep(int64_t step, LayerHotSet& hot) override {
    if (!rows_.joined[step]) return;
    std::vector<double> share(layer_.experts);
    AddPrompts(step, share);
    std::vector<int32_t> candidates;
    for (int32_t e = 0; e < layer_.experts; ++e)
      if (!hot.has(e) && share[e] > 0) candidates.push_back(e);
    const auto rank = [&](int32_t expert) { return -share[expert]; };
    std::ranges::stable_sort(candidates, {}, rank);
    hot.Admit(candidates, rank);
  }

  void AfterStep(int64_t step, LayerHotSet&) override {
    for (int64_t row = rows_.step_begin[step]; row < rows_.step_begin[step + 1]; ++row) {
      if (rows_.rows[row].phase != Phase::kPrefill) continue;
      Prompt& prompt = prompts_[rows_.rows[row].sequence];
      prompt.hits.resize(layer_.experts);
      ++prompt.tokens;
      for (int32_t k = 0; k < layer_.top_k; ++k) ++prompt.hits[layer_.ids[row * layer_.top_k + k]];
    }
  }

 private:
  struct Prompt {
    int64_t tokens = 0;
    std::vector<int32_t> hits;  // [experts]
  };

  void AddPrompts(int64_t step, std::vector<double>& share) const {
    for (int64_t row = rows_.step_begin[step]; row < rows_.step_begin[step + 1]; ++row) {
      if (rows_.rows[row].phase != Phase::kDecode) continue;
      const auto prompt = prompts_.find(rows_.rows[row].sequence);
      if (prompt == prompts_.end()) continue;
      for (int32_t e = 0; e < layer_.experts; ++e)
        share[e] += static_cast<double>(prompt->second.hits[e]) / prompt->second.tokens;
    }
  }

  const TraceRows& rows_;
  const LayerTrace& layer_;
  std::unordered_map<uint32_t, Prompt> prompts_;
};

}  // namespace

std::unique_ptr<LayerPolicy> MakeLayerPolicy(HotPolicy policy, const TraceRows& rows,
                                             const LayerTrace& layer,
                                             std::span<const ExpertId> start) {
  switch (policy) {
    case HotPolicy::kStatic:
      return std::make_unique<LayerPolicy>();
    case HotPolicy::kPerPrompt:
      return std::make_unique<PerPrompt>(rows, layer);
    case HotPolicy::kLru:
      return std::make_unique<Lru>(layer, start);
    case HotPolicy::kBelady:
      return std::make_unique<Belady>(layer);
    case HotPolicy::kEma:
      break;
  }
  TANDEM_CHECK(false, "an ExpertAdapter decides for all layers together");
  return nullptr;
}

}  // namespace tandem
