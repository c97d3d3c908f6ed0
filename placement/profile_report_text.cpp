// ReportText(): one function per section, each ends with an empty line.
#include <algorithm>
#include <cmath>
#include <ctime>

#include "absl/strings/str_format.h"
#include "placement/profile_report.h"
#include "placement/text_bars.h"

namespace tandem {
namespace {

constexpr int kLabelColumns = 24;
constexpr std::array kPhaseNames = {"prefill", "decode"};

std::string Utc(int64_t unix_s) {
  if (unix_s <= 0) return "at an unknown time";
  const std::time_t time = unix_s;
  std::tm fields{};
  gmtime_r(&time, &fields);
  return absl::StrFormat("%04d-%02d-%02d %02d:%02d UTC", fields.tm_year + 1900, fields.tm_mon + 1,
                         fields.tm_mday, fields.tm_hour, fields.tm_min);
}

const std::string& NameOf(const ProfileReport& report, int label) {
  return std::find_if(report.labels.begin(), report.labels.end(),
                      [&](const LabelTokens& l) { return l.label == label; })
      ->name;
}

std::string Whose(const ProfileReport& report) {
  std::string whose = report.options.label < 0
                          ? "all labels"
                          : "label " + ShownLabel(NameOf(report, report.options.label));
  if (report.options.phase)
    return whose + ", " + kPhaseNames[static_cast<int>(*report.options.phase)] + " only";
  return whose + ", both phases";
}

std::string Recorded(const ProfileReport& report) {
  const int64_t train = report.tokens(Split::kTrain), held_out = report.tokens(Split::kHeldOut);
  std::string text = absl::StrFormat(
      "Expert profile of %s\nrecorded %s: %s tokens, %s of them held out (every %dth request)\n\n",
      Describe(report.model), Utc(report.recorded_unix_s), Thousands(train + held_out),
      Thousands(held_out), kHeldOutEvery);
  absl::StrAppendFormat(&text, "%s  %23s  %23s\n%s  %11s %11s  %11s %11s\n",
                        Column("Tokens", kLabelColumns), "training", "held out",
                        Column("  label", kLabelColumns), "prefill", "decode", "prefill", "decode");
  for (const LabelTokens& label : report.labels) {
    text += Column("  " + ShownLabel(label.name), kLabelColumns);
    for (const auto& split : label.tokens)
      absl::StrAppendFormat(&text, "  %11s %11s", Thousands(split[0]), Thousands(split[1]));
    text += "\n";
  }
  return text + "\n";
}

// Four layers to a line.
std::string SkewBars(const ProfileReport& report) {
  double largest = 0.01;
  Skew mean;
  for (const Skew& skew : report.skew) {
    largest = std::max(largest, skew.gini);
    const auto layers = static_cast<double>(report.skew.size());
    mean.gini += skew.gini / layers;
    mean.entropy_share += skew.entropy_share / layers;
    for (size_t i = 0; i < mean.top.size(); ++i) mean.top[i] += skew.top[i] / layers;
  }
  std::string text =
      absl::StrFormat("Skew per layer: Gini, 0 = all experts used alike (%s); a full bar is %.2f\n",
                      Whose(report), largest);
  for (size_t i = 0; i < report.skew.size(); ++i) {
    absl::StrAppendFormat(&text, "  %3d %s %.2f", static_cast<int>(i) + report.model.dense_layers,
                          Bar(report.skew[i].gini / largest, 8), report.skew[i].gini);
    if (i % 4 == 3 || i + 1 == report.skew.size()) text += "\n";
  }
  absl::StrAppendFormat(&text,
                        "  mean Gini %.3f, entropy %.1f %% of the largest possible; the busiest",
                        mean.gini, 100 * mean.entropy_share);
  for (size_t i = 0; i < mean.top.size(); ++i)
    absl::StrAppendFormat(&text, "%s%d", i == 0 ? "\n  " : ", ", kTopPercents[i]);
  text += " % of a layer's experts get";
  for (size_t i = 0; i < mean.top.size(); ++i)
    absl::StrAppendFormat(&text, "%s%.1f", i == 0 ? " " : ", ", 100 * mean.top[i]);
  return text + " % of its choices\n\n";
}

std::string RateRow(const std::string& name, const std::vector<double>& rates) {
  std::string text = Column("    " + name, kLabelColumns);
  for (const double rate : rates) absl::StrAppendFormat(&text, "%7.1f %%", 100 * rate);
  return text + "\n";
}

std::string CurveRows(const ReportedCurves& reported) {
  const HitCurves& curves = reported.curves;
  const std::string phase = kPhaseNames[static_cast<int>(reported.phase)];
  if (curves.judged_tokens == 0)
    return absl::StrFormat("  %s: no held-out tokens, so no hit rate can be told\n", phase);
  if (curves.train_tokens == 0)
    return absl::StrFormat("  %s: no training tokens to rank the experts by\n", phase);
  return absl::StrFormat("  %s: %s held-out tokens, ranked by %s training tokens\n", phase,
                         Thousands(curves.judged_tokens), Thousands(curves.train_tokens)) +
         RateRow("by frequency", curves.frequency) +
         RateRow("same in each layer", curves.per_layer) +
         RateRow("oracle (unreachable)", curves.oracle) + RateRow("uniform", curves.uniform);
}

std::string HitRateTable(const ProfileReport& report) {
  std::string text = "Hit rate on held-out requests: routed choices that meet a hot expert\n" +
                     Column("  hot, of all experts", kLabelColumns);
  for (const double percent : report.options.percents)
    absl::StrAppendFormat(&text, "%7g %%", percent);
  text += "\n" + Column("  hot experts", kLabelColumns);
  for (const int64_t hot : report.curves.front().curves.hot)
    absl::StrAppendFormat(&text, "%7s  ", Thousands(hot));
  text += "\n";
  for (const ReportedCurves& curves : report.curves)
    if (curves.label == report.options.label) text += CurveRows(curves);
  return text + "\n";
}

std::string DistinctBars(const ProfileReport& report) {
  if (report.distinct.empty()) return "";
  std::string text = absl::StrFormat(
      "Distinct experts per layer and step, of %d (independent: even, independent choices)\n"
      "  %8s %8s %9s %12s\n",
      report.model.experts, "rows", "steps", "distinct", "independent");
  for (const DistinctPoint& point : report.distinct)
    absl::StrAppendFormat(&text, "  %8.1f %8s %9.1f %12.1f  %s\n", point.rows,
                          Thousands(point.steps), point.distinct, point.independent,
                          Bar(point.distinct / report.model.experts, 24));
  return text + "\n";
}

std::string ReuseBars(const ProfileReport& report) {
  if (report.reuse.empty()) return "";
  std::string text =
      "Reuse in decode: choices whose expert the layer used less than so many tokens ago\n"
      "    tokens     share  independent\n";
  for (const ReusePoint& point : report.reuse) {
    absl::StrAppendFormat(&text, "  %8s   %5.1f %%      %5.1f %%  %s\n", Thousands(point.tokens),
                          100 * point.share, 100 * point.independent, Bar(point.share, 24));
    // Nothing more comes.
    if (point.share > report.reuse.back().share - 5e-4 && point.independent > 1 - 5e-4) break;
  }
  return text + "\n";
}

std::string DriftRows(const ProfileReport& report) {
  if (report.drift.empty()) return "";
  std::string text = absl::StrFormat(
      "Drift: overlap (Jaccard) of the busiest %g %% of all experts between windows of %s decoded\n"
      "tokens; random sets would have %.2f\n  up to token  with the one before          with the "
      "first\n",
      kDriftPercent, Thousands(report.window_tokens), JaccardOfRandomSets(kDriftPercent));
  const size_t step = (report.drift.size() + 11) / 12;  // a dozen lines at most
  for (size_t i = 0; i < report.drift.size(); i += step) {
    const DriftPoint& point = report.drift[i];
    absl::StrAppendFormat(&text, "  %11s  %.2f %s  %.2f %s\n", Thousands(point.tokens),
                          point.to_previous, Bar(point.to_previous, 20), point.to_first,
                          Bar(point.to_first, 20));
  }
  return text + "\n";
}

std::string Matrix(const ProfileReport& report, const std::string& title, const char* format,
                   double scale, const std::vector<std::vector<double>>& values) {
  std::string text = "  " + title + "\n" + std::string(kLabelColumns + 2, ' ');
  for (size_t b = 0; b < values.size(); ++b)
    absl::StrAppendFormat(&text, "%5c", static_cast<char>('A' + b));
  text += "\n";
  for (size_t a = 0; a < values.size(); ++a) {
    const std::string& name = NameOf(report, report.differences.labels[a]);
    text += Column(absl::StrFormat("    %c %s", static_cast<char>('A' + a), ShownLabel(name)),
                   kLabelColumns + 2);
    for (const double value : values[a]) {
      const auto parsed = absl::ParsedFormat<'f'>::New(format);
      text += value < 0 ? "    -" : absl::StrFormat(*parsed, scale * value);
    }
    text += "\n";
  }
  return text;
}

std::string DifferenceTables(const ProfileReport& report) {
  const LabelDifferences& found = report.differences;
  if (found.labels.size() < 2) return "";
  return "Labels beside each other (the diagonal: a label's training and held-out requests)\n" +
         Matrix(report,
                absl::StrFormat(
                    "hit rate in %% on the column's held-out requests; hot: the %g %% that "
                    "the row ranks highest",
                    kMatchPercent),
                "%5.1f", 100, found.match) +
         Matrix(report,
                absl::StrFormat("overlap (Jaccard) of the busiest %g %%; random sets: %.2f",
                                kDriftPercent, JaccardOfRandomSets(kDriftPercent)),
                "%5.2f", 1, found.jaccard) +
         Matrix(report, "Jensen-Shannon divergence in bits, mean of layers; 0: the same", "%5.2f",
                1, found.jensen_shannon) +
         "\n";
}

std::string PairRows(const ProfileReport& report) {
  if (report.pairs.empty()) return "";
  std::string text =
      "Experts chosen by the same tokens (times: as often as if chosen independently)\n"
      "  first              second             tokens   times\n";
  for (const ReportedPair& reported : report.pairs) {
    const ExpertPair& pair = reported.pair;
    const int layer = pair.moe_layer + report.model.dense_layers;
    absl::StrAppendFormat(&text, "  layer %3d, %4d    layer %3d, %4d    %5.1f %%  %6.1f\n", layer,
                          pair.first, layer + (pair.next_layer ? 1 : 0), pair.second,
                          100 * reported.share, reported.times);
  }
  return text + "\n";
}

}  // namespace

std::string ReportText(const ProfileReport& report) {
  return Recorded(report) + SkewBars(report) + HitRateTable(report) + DistinctBars(report) +
         ReuseBars(report) + DriftRows(report) + DifferenceTables(report) + PairRows(report);
}

}  // namespace tandem
