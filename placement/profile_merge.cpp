#include "placement/profile_merge.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "placement/pair_counter.h"
#include "placement/profile_windows.h"

namespace tandem {
namespace {

void Add(const RoutingCounts& from, RoutingCounts& to) {
  to.tokens += from.tokens;
  for (size_t i = 0; i < from.hits.size(); ++i) to.hits[i] += from.hits[i];
  for (size_t i = 0; i < from.mass.size(); ++i) to.mass[i] += from.mass[i];
}

std::vector<LabelProfile> MergeLabels(const std::vector<LabelProfile>& a,
                                      const std::vector<LabelProfile>& b) {
  std::map<std::string, LabelProfile> by_name;
  for (const auto* labels : {&a, &b}) {
    for (const LabelProfile& label : *labels) {
      const auto [sum, is_new] = by_name.try_emplace(label.name, label);
      if (is_new) continue;
      for (int split = 0; split < kSplits; ++split)
        for (int phase = 0; phase < kPhases; ++phase)
          Add(label.counts[split][phase], sum->second.counts[split][phase]);
    }
  }
  std::vector<LabelProfile> merged;
  for (auto& [name, label] : by_name) merged.push_back(std::move(label));
  return merged;
}

std::vector<ExpertPair> MergePairs(const std::vector<ExpertPair>& a,
                                   const std::vector<ExpertPair>& b) {
  std::map<std::tuple<int32_t, bool, int32_t, int32_t>, ExpertPair> sums;
  for (const auto* pairs : {&a, &b}) {
    for (const ExpertPair& pair : *pairs) {
      const auto key = std::tuple(pair.moe_layer, pair.next_layer, pair.first, pair.second);
      const auto [sum, is_new] = sums.try_emplace(key, pair);
      if (!is_new) sum->second.count += pair.count;
    }
  }
  std::vector<ExpertPair> merged;
  for (const auto& [key, pair] : sums) merged.push_back(pair);
  KeepTopPairs(merged);
  return merged;
}

// `first` before `second`, of equal length where that can be.
void AppendWindows(const ExpertProfile& first, const ExpertProfile& second, ExpertProfile& merged) {
  merged.windows = first.windows;
  merged.window_tokens = first.window_tokens;
  std::vector<ProfileWindow> others = second.windows;
  int64_t others_tokens = second.window_tokens;
  if (merged.windows.empty()) merged.window_tokens = others_tokens;
  if (others.empty()) others_tokens = merged.window_tokens;
  for (; merged.window_tokens < others_tokens; merged.window_tokens *= 2)
    MergeNeighbours(merged.windows);
  for (; others_tokens < merged.window_tokens; others_tokens *= 2) MergeNeighbours(others);
  merged.windows.insert(merged.windows.end(), std::make_move_iterator(others.begin()),
                        std::make_move_iterator(others.end()));
  for (; std::ssize(merged.windows) > kMaxWindows; merged.window_tokens *= 2)
    MergeNeighbours(merged.windows);
}

}  // namespace

absl::StatusOr<ExpertProfile> MergeProfiles(const ExpertProfile& a, const ExpertProfile& b) {
  TANDEM_RETURN_IF_ERROR(CheckSameModel("the second profile", b.model, a.model));
  const bool a_first = a.recorded_unix_s <= b.recorded_unix_s;
  const ExpertProfile &first = a_first ? a : b, &second = a_first ? b : a;
  ExpertProfile merged = {.model = first.model, .recorded_unix_s = first.recorded_unix_s};
  if (merged.model.router_hash == 0) merged.model = second.model;
  merged.labels = MergeLabels(first.labels, second.labels);
  for (int i = 0; i < kRowBuckets; ++i) {
    const DistinctExperts &one = first.distinct[i], &other = second.distinct[i];
    merged.distinct[i] = {one.steps + other.steps, one.rows + other.rows,
                          one.distinct + other.distinct};
  }
  merged.reuse = first.reuse;
  for (size_t i = 0; i < merged.reuse.size(); ++i) merged.reuse[i] += second.reuse[i];
  merged.pair_tokens = first.pair_tokens + second.pair_tokens;
  merged.pairs = MergePairs(first.pairs, second.pairs);
  AppendWindows(first, second, merged);
  return merged;
}

}  // namespace tandem
