// Profiles added up, and compared.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "placement/expert_profile.h"

namespace tandem {

// All that both recorded, as if it had been recorded together: labels of the same name add up,
// and are sorted by name; windows follow one another by the time at which the recordings began,
// merged until there are at most kMaxWindows. Counts do not depend on order or grouping of merges.
// Pairs are added and cut to the most frequent again: a pair that one side had not kept is
// undercounted. Error: FAILED_PRECONDITION if they are of different models.
absl::StatusOr<ExpertProfile> MergeProfiles(const ExpertProfile& a, const ExpertProfile& b);

// How differently two sets of requests use the experts of a layer.
struct LayerDifference {
  double jensen_shannon = 0;    // between the shares of hits, in bits: 0 the same, 1 disjoint
  double top_overlap = 1;       // |A and B| / |A or B|, the most used experts of each (Jaccard)
  double rank_correlation = 1;  // Spearman's, equal counts share a rank: 1 same order, -1 reverse
};

struct CountsDifference {
  std::string name;  // of a label, or ""
  int64_t tokens_a = 0, tokens_b = 0;
  std::vector<LayerDifference> layers;  // [moe_layers]
  LayerDifference mean;                 // over the layers
};

struct ProfileDifference {
  double top_fraction = 0;
  CountsDifference overall;
  std::vector<CountsDifference> labels;  // those that both have tokens of, sorted by name
};

struct DiffOptions {
  double top_fraction = 0.1;  // of a layer's experts, at least one: what top_overlap looks at
  bool by_label = false;
};

// REQUIRES: both have hits of model.moe_layers() x model.experts.
// Error: INVALID_ARGUMENT if one has no token.
absl::StatusOr<CountsDifference> DiffCounts(const ModelIdentity& model, const RoutingCounts& a,
                                            const RoutingCounts& b, double top_fraction);

// All splits and phases together. Errors: FAILED_PRECONDITION (different models), INVALID_ARGUMENT
// (one has no token; a fraction outside (0, 1]).
absl::StatusOr<ProfileDifference> DiffProfiles(const ExpertProfile& a, const ExpertProfile& b,
                                               const DiffOptions& options = {});

}  // namespace tandem
