#include "placement/profile_differences.h"

#include <algorithm>

namespace tandem {
namespace {

constexpr double kNotKnown = -1;

// A label's counts, and what is made from them for every comparison.
struct Side {
  Side(RoutingCounts of) : counts(std::move(of)), top(TopCells(counts.hits, kDriftPercent)) {}
  RoutingCounts counts;
  std::vector<int32_t> top;
  bool empty() const { return counts.tokens == 0; }
};

double MatchRate(const Side& train, const Side& judged) {
  const auto cells = static_cast<int64_t>(train.counts.hits.size());
  const std::vector<int64_t> hot = HotCounts(cells, std::array{kMatchPercent});
  return HitRates(RankByFrequency(train.counts.hits), judged.counts.hits, hot)[0];
}

}  // namespace

LabelDifferences CompareLabels(const ExpertProfile& profile, const std::vector<int>& labels) {
  std::vector<Side> all, train, held_out;
  const Split kTrain = Split::kTrain, kHeldOut = Split::kHeldOut;
  for (const int label : labels) {
    all.emplace_back(SumCounts(profile, label));
    train.emplace_back(SumCounts(profile, label, &kTrain));
    held_out.emplace_back(SumCounts(profile, label, &kHeldOut));
  }
  const std::vector<std::vector<double>> unknown(labels.size(),
                                                 std::vector<double>(labels.size(), kNotKnown));
  LabelDifferences out = {
      .labels = labels, .jaccard = unknown, .jensen_shannon = unknown, .match = unknown};
  for (size_t a = 0; a < labels.size(); ++a) {
    for (size_t b = 0; b < labels.size(); ++b) {
      const Side& left = a == b ? train[a] : all[a];
      const Side& right = a == b ? held_out[b] : all[b];
      if (!left.empty() && !right.empty()) {
        out.jaccard[a][b] = Jaccard(left.top, right.top);
        out.jensen_shannon[a][b] =
            MeanJensenShannon(left.counts.hits, right.counts.hits, profile.model.experts);
      }
      if (!train[a].empty() && !held_out[b].empty())
        out.match[a][b] = MatchRate(train[a], held_out[b]);
    }
  }
  return out;
}

}  // namespace tandem
