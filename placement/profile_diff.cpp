#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "absl/strings/str_cat.h"
#include "placement/profile_merge.h"
#include "placement/routing_skew.h"

namespace tandem {
namespace {

using Hits = std::span<const int64_t>;  // of a layer

// Experts, the most used first; of equals the lower id.
std::vector<int32_t> Ranking(Hits hits) {
  std::vector<int32_t> experts(hits.size());
  std::iota(experts.begin(), experts.end(), 0);
  std::stable_sort(experts.begin(), experts.end(),
                   [&](int32_t x, int32_t y) { return hits[x] > hits[y]; });
  return experts;
}

double TopOverlap(Hits a, Hits b, double fraction) {
  const auto n = std::clamp<int64_t>(std::llround(fraction * a.size()), 1, std::ssize(a));
  const std::vector<int32_t> ranking_a = Ranking(a), ranking_b = Ranking(b);
  std::vector<bool> in_a(a.size());
  for (int64_t i = 0; i < n; ++i) in_a[ranking_a[i]] = true;
  int64_t both = 0;
  for (int64_t i = 0; i < n; ++i) both += in_a[ranking_b[i]];
  return static_cast<double>(both) / static_cast<double>(2 * n - both);
}

// Rank of each expert; equals share the mean of their places.
std::vector<double> Ranks(Hits hits) {
  const std::vector<int32_t> ranking = Ranking(hits);
  std::vector<double> ranks(hits.size());
  for (size_t begin = 0, end = 0; begin < ranking.size(); begin = end) {
    while (end < ranking.size() && hits[ranking[end]] == hits[ranking[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) ranks[ranking[i]] = (begin + end - 1) / 2.0;
  }
  return ranks;
}

double RankCorrelation(Hits a, Hits b) {
  const std::vector<double> x = Ranks(a), y = Ranks(b);
  const double mean = (x.size() - 1) / 2.0;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  if (xx == 0 || yy == 0) return xx == yy ? 1.0 : 0.0;  // one has no order
  return xy / std::sqrt(xx * yy);
}

LayerDifference Mean(const std::vector<LayerDifference>& layers) {
  LayerDifference mean{0, 0, 0};
  const double n = layers.size();
  for (const LayerDifference& layer : layers) {
    mean.jensen_shannon += layer.jensen_shannon / n;
    mean.top_overlap += layer.top_overlap / n;
    mean.rank_correlation += layer.rank_correlation / n;
  }
  return mean;
}

int LabelNamed(const ExpertProfile& profile, const std::string& name) {
  for (int i = 0; i < std::ssize(profile.labels); ++i)
    if (profile.labels[i].name == name) return i;
  return -1;
}

}  // namespace

absl::StatusOr<CountsDifference> DiffCounts(const ModelIdentity& model, const RoutingCounts& a,
                                            const RoutingCounts& b, double top_fraction) {
  if (a.tokens == 0 || b.tokens == 0)
    return absl::InvalidArgumentError("nothing to compare: one side has no tokens");
  CountsDifference diff{.tokens_a = a.tokens, .tokens_b = b.tokens};
  for (int64_t layer = 0; layer < model.moe_layers(); ++layer) {
    const Hits hits_a = Hits(a.hits).subspan(layer * model.experts, model.experts);
    const Hits hits_b = Hits(b.hits).subspan(layer * model.experts, model.experts);
    diff.layers.push_back({JensenShannon(hits_a, hits_b), TopOverlap(hits_a, hits_b, top_fraction),
                           RankCorrelation(hits_a, hits_b)});
  }
  diff.mean = Mean(diff.layers);
  return diff;
}

absl::StatusOr<ProfileDifference> DiffProfiles(const ExpertProfile& a, const ExpertProfile& b,
                                               const DiffOptions& options) {
  TANDEM_RETURN_IF_ERROR(CheckSameModel("the second profile", b.model, a.model));
  if (!(options.top_fraction > 0 && options.top_fraction <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the share of most used experts is ", options.top_fraction, "; expected above 0, up to 1"));
  }
  ProfileDifference diff{.top_fraction = options.top_fraction};
  TANDEM_ASSIGN_OR_RETURN(diff.overall,
                          DiffCounts(a.model, SumCounts(a), SumCounts(b), options.top_fraction));
  for (int i = 0; options.by_label && i < std::ssize(a.labels); ++i) {
    const int other = LabelNamed(b, a.labels[i].name);
    if (other < 0) continue;
    const RoutingCounts counts_a = SumCounts(a, i), counts_b = SumCounts(b, other);
    if (counts_a.tokens == 0 || counts_b.tokens == 0) continue;
    TANDEM_ASSIGN_OR_RETURN(CountsDifference label,
                            DiffCounts(a.model, counts_a, counts_b, options.top_fraction));
    label.name = a.labels[i].name;
    diff.labels.push_back(std::move(label));
  }
  std::sort(diff.labels.begin(), diff.labels.end(),
            [](const auto& x, const auto& y) { return x.name < y.name; });
  return diff;
}

}  // namespace tandem
