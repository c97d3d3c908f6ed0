#include "placement/profile_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/status.h"
#include "placement/profile_differences.h"

namespace tandem {
namespace {

constexpr Split kTrain = Split::kTrain;
constexpr Split kHeldOut = Split::kHeldOut;

std::vector<LabelTokens> CountTokens(const ExpertProfile& profile) {
  std::vector<LabelTokens> labels;
  for (size_t i = 0; i < profile.labels.size(); ++i) {
    LabelTokens label = {.label = static_cast<int>(i), .name = profile.labels[i].name};
    for (int s = 0; s < kSplits; ++s)
      for (int p = 0; p < kPhases; ++p) label.tokens[s][p] = profile.labels[i].counts[s][p].tokens;
    labels.push_back(std::move(label));
  }
  std::stable_sort(labels.begin(), labels.end(),
                   [](const LabelTokens& a, const LabelTokens& b) { return a.all() > b.all(); });
  return labels;
}

std::vector<Skew> LayerSkews(const ExpertProfile& profile, const ReportOptions& options) {
  const Phase* phase = options.phase ? &*options.phase : nullptr;
  const RoutingCounts counts = SumCounts(profile, options.label, nullptr, phase);
  const int64_t experts = profile.model.experts;
  std::vector<Skew> skew;
  for (int64_t layer = 0; layer < profile.model.moe_layers(); ++layer)
    skew.push_back(SkewOf(std::span(counts.hits).subspan(layer * experts, experts)));
  return skew;
}

ReportedCurves CurvesOf(const ExpertProfile& profile, const ReportOptions& options, int label,
                        Phase phase) {
  const RoutingCounts train = SumCounts(profile, label, &kTrain, &phase);
  const RoutingCounts judged = SumCounts(profile, label, &kHeldOut, &phase);
  ReportedCurves curves = {.label = label, .phase = phase, .curves = {}};
  curves.curves =
      MakeHitCurves(train.hits, judged.hits, profile.model.experts,
                    HotCounts(static_cast<int64_t>(judged.hits.size()), options.percents));
  curves.curves.train_tokens = train.tokens;
  curves.curves.judged_tokens = judged.tokens;
  return curves;
}

std::vector<ReportedCurves> AllCurves(const ExpertProfile& profile, const ProfileReport& report) {
  std::vector<int> labels = {report.options.label};
  if (report.options.label < 0 && report.labels.size() > 1)
    for (const LabelTokens& label : report.labels)
      if (labels.size() <= kReportedLabels) labels.push_back(label.label);
  std::vector<ReportedCurves> all;
  for (const int label : labels)
    for (const Phase phase : {Phase::kPrefill, Phase::kDecode})
      if (!report.options.phase || *report.options.phase == phase)
        all.push_back(CurvesOf(profile, report.options, label, phase));
  return all;
}

std::vector<DistinctPoint> DistinctPoints(const ExpertProfile& profile) {
  std::vector<DistinctPoint> points;
  for (const DistinctExperts& bucket : profile.distinct) {
    if (bucket.steps == 0) continue;
    const auto steps = static_cast<double>(bucket.steps);
    const double rows = static_cast<double>(bucket.rows) / steps;
    points.push_back(
        {.rows = rows,
         .steps = bucket.steps,
         .distinct = bucket.distinct / steps,
         .independent = IndependentDistinct(rows, profile.model.experts, profile.model.top_k)});
  }
  return points;
}

std::vector<ReusePoint> ReusePoints(const ExpertProfile& profile) {
  std::array<int64_t, kReuseBuckets> uses{};
  for (size_t i = 0; i < profile.reuse.size(); ++i) uses[i % kReuseBuckets] += profile.reuse[i];
  const auto all = static_cast<double>(std::accumulate(uses.begin(), uses.end(), int64_t{0}));
  std::vector<ReusePoint> points;
  if (all == 0) return points;
  int64_t nearer = 0;
  for (int i = 0; i + 1 < kReuseBuckets; ++i) {  // the last place has no upper end
    nearer += uses[i];
    const int64_t tokens = int64_t{2} << i;
    points.push_back({.tokens = tokens,
                      .share = static_cast<double>(nearer) / all,
                      .independent = IndependentReuse(static_cast<double>(tokens - 1),
                                                      profile.model.experts, profile.model.top_k)});
  }
  return points;
}

// A last window that is not half full would show the noise of few tokens as drift.
std::vector<DriftPoint> DriftPoints(const ExpertProfile& profile) {
  std::vector<std::vector<int32_t>> busiest;
  std::vector<DriftPoint> points;
  int64_t tokens = 0;
  for (const ProfileWindow& window : profile.windows) {
    tokens += window.tokens;
    if (window.tokens == 0 || window.tokens * 2 < profile.window_tokens) continue;
    const std::vector<int64_t> hits(window.hits.begin(), window.hits.end());
    busiest.push_back(TopCells(hits, kDriftPercent));
    if (busiest.size() < 2) continue;
    points.push_back({.tokens = tokens,
                      .to_previous = Jaccard(busiest[busiest.size() - 2], busiest.back()),
                      .to_first = Jaccard(busiest.front(), busiest.back())});
  }
  return points;
}

std::vector<ReportedPair> StrongestPairs(const ExpertProfile& profile) {
  const RoutingCounts all = SumCounts(profile);
  const int64_t experts = profile.model.experts;
  std::vector<ReportedPair> pairs;
  if (all.tokens == 0 || profile.pair_tokens == 0) return pairs;
  const auto chosen = [&](int64_t layer, int64_t expert) {
    return static_cast<double>(all.hits[layer * experts + expert]) /
           static_cast<double>(all.tokens);
  };
  for (const ExpertPair& pair : profile.pairs) {
    const double share = static_cast<double>(pair.count) / static_cast<double>(profile.pair_tokens);
    const double expected = chosen(pair.moe_layer, pair.first) *
                            chosen(pair.moe_layer + (pair.next_layer ? 1 : 0), pair.second);
    if (expected > 0) pairs.push_back({.pair = pair, .share = share, .times = share / expected});
  }
  // Strong: often, and more often than by chance.
  const auto strength = [](const ReportedPair& pair) { return pair.share * std::log(pair.times); };
  std::stable_sort(pairs.begin(), pairs.end(), [&](const ReportedPair& a, const ReportedPair& b) {
    return strength(a) > strength(b);
  });
  pairs.resize(std::min(pairs.size(), kReportedPairs));
  return pairs;
}

}  // namespace

int64_t LabelTokens::of(Split split) const {
  const auto& phases = tokens[static_cast<int>(split)];
  return std::accumulate(phases.begin(), phases.end(), int64_t{0});
}

int64_t LabelTokens::all() const { return of(Split::kTrain) + of(Split::kHeldOut); }

int64_t ProfileReport::tokens(Split split) const {
  int64_t sum = 0;
  for (const LabelTokens& label : labels) sum += label.of(split);
  return sum;
}

std::string ShownLabel(const std::string& name) {
  std::string shown = name.empty() ? "(no label)" : name;
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return shown;
}

ProfileReport MakeProfileReport(const ExpertProfile& profile, const ReportOptions& options) {
  TANDEM_CHECK(options.label < static_cast<int>(profile.labels.size()), "a label of the profile");
  ProfileReport report;
  report.model = profile.model;
  report.recorded_unix_s = profile.recorded_unix_s;
  report.options = options;
  report.labels = CountTokens(profile);
  report.skew = LayerSkews(profile, options);
  report.curves = AllCurves(profile, report);
  report.distinct = DistinctPoints(profile);
  report.reuse = ReusePoints(profile);
  report.drift = DriftPoints(profile);
  report.window_tokens = profile.window_tokens;
  report.pairs = StrongestPairs(profile);
  if (report.labels.size() > 1) {
    std::vector<int> compared;
    for (const LabelTokens& label : report.labels)
      if (compared.size() < kReportedLabels && label.all() > 0) compared.push_back(label.label);
    report.differences = CompareLabels(profile, compared);
  }
  return report;
}

}  // namespace tandem
