// What an expert profile says, in figures: made once, then shown as text (for a terminal), as JSON
// and as a page (profile_page.h). Hit rates are of held-out requests only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "placement/expert_profile.h"
#include "placement/hit_curve.h"
#include "placement/routing_skew.h"

namespace tandem {

inline constexpr double kDriftPercent = 10;    // busiest cells compared between windows and labels
inline constexpr double kMatchPercent = 6;     // hot experts of LabelDifferences::match
inline constexpr size_t kReportedLabels = 12;  // with the most tokens; the others only in sums
inline constexpr size_t kReportedPairs = 10;

struct ReportOptions {
  int label = -1;              // skew and hit rates of this label only
  std::optional<Phase> phase;  // of this phase only
  std::vector<double> percents = {1, 2, 5, 6, 10, 20, 30, 50};  // hot experts, of all; ascending
};

struct LabelTokens {
  int label = 0;  // index of the profile's
  std::string name;
  std::array<std::array<int64_t, kPhases>, kSplits> tokens{};
  int64_t all() const;
  int64_t of(Split split) const;
};

struct ReportedCurves {
  int label = -1;  // -1: all
  Phase phase = Phase::kPrefill;
  HitCurves curves;  // without judged_tokens there were no held-out requests, and no figures
};

// Steps of about that many rows.
struct DistinctPoint {
  double rows = 0;  // mean
  int64_t steps = 0;
  double distinct = 0;     // experts per layer and step, mean
  double independent = 0;  // what independent even choices would meet
};

// Decoded uses whose expert the layer used less than `tokens` tokens ago.
struct ReusePoint {
  int64_t tokens = 0;
  double share = 0;
  double independent = 0;
};

struct DriftPoint {
  int64_t tokens = 0;      // decoded when the window ended
  double to_previous = 0;  // Jaccard of the busiest kDriftPercent of all cells
  double to_first = 0;
};

// [a][b] over `labels`. The diagonal compares a label's training with its held-out requests: what
// two samples of the same thing differ by; -1 where one side has no tokens.
struct LabelDifferences {
  std::vector<int> labels;                          // indices of the profile's
  std::vector<std::vector<double>> jaccard;         // busiest kDriftPercent of all cells
  std::vector<std::vector<double>> jensen_shannon;  // bits, mean over layers
  std::vector<std::vector<double>> match;  // hit rate on b's held-out requests of the kMatchPercent
                                           // ranked by a's training requests
};

struct ReportedPair {
  ExpertPair pair;
  double share = 0;  // of the sampled tokens
  double times = 0;  // as often as if the two were chosen independently
};

struct ProfileReport {
  ModelIdentity model;
  int64_t recorded_unix_s = 0;
  ReportOptions options;
  std::vector<LabelTokens> labels;     // all, most tokens first
  std::vector<Skew> skew;              // [moe_layers]
  std::vector<ReportedCurves> curves;  // options.label or all, per phase; then every reported label
  std::vector<DistinctPoint> distinct;
  std::vector<ReusePoint> reuse;
  std::vector<DriftPoint> drift;
  int64_t window_tokens = 0;
  LabelDifferences differences;  // empty with fewer than two labels
  std::vector<ReportedPair> pairs;

  int64_t tokens(Split split) const;
};

// REQUIRES: options.label is -1 or an index of profile.labels, percents ascend.
ProfileReport MakeProfileReport(const ExpertProfile& profile, const ReportOptions& options);

// For a terminal, at most 100 columns; labels as they are (make them harmless before printing).
std::string ReportText(const ProfileReport& report);
// One JSON object; what is not valid UTF-8 in it is replaced.
std::string ReportJson(const ProfileReport& report);

// For a line of text: "(no label)" for "", and '?' for line breaks and other control bytes.
std::string ShownLabel(const std::string& name);

}  // namespace tandem
