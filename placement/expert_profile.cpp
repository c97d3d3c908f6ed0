#include "placement/expert_profile.h"

namespace tandem {
namespace {

void Add(const RoutingCounts& from, RoutingCounts& to) {
  to.tokens += from.tokens;
  for (size_t i = 0; i < from.hits.size(); ++i) to.hits[i] += from.hits[i];
  for (size_t i = 0; i < from.mass.size(); ++i) to.mass[i] += from.mass[i];
}

}  // namespace

int64_t ExpertProfile::tokens() const {
  int64_t sum = 0;
  for (const LabelProfile& label : labels)
    for (const auto& split : label.counts)
      for (const RoutingCounts& counts : split) sum += counts.tokens;
  return sum;
}

RoutingCounts SumCounts(const ExpertProfile& profile, int label, const Split* split,
                        const Phase* phase) {
  const int64_t cells = int64_t{profile.model.moe_layers()} * profile.model.experts;
  RoutingCounts sum{.hits = std::vector<int64_t>(cells), .mass = std::vector<double>(cells)};
  for (int l = 0; l < static_cast<int>(profile.labels.size()); ++l) {
    if (label >= 0 && l != label) continue;
    for (int s = 0; s < kSplits; ++s) {
      if (split != nullptr && s != static_cast<int>(*split)) continue;
      for (int p = 0; p < kPhases; ++p) {
        if (phase != nullptr && p != static_cast<int>(*phase)) continue;
        Add(profile.labels[l].counts[s][p], sum);
      }
    }
  }
  return sum;
}

}  // namespace tandem
