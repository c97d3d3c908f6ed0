#include <nlohmann/json.hpp>

#include "placement/profile_report.h"

namespace tandem {
namespace {

using nlohmann::json;

const char* Name(Phase phase) { return phase == Phase::kPrefill ? "prefill" : "decode"; }

json LabelsJson(const ProfileReport& report) {
  json labels = json::array();
  for (const LabelTokens& label : report.labels)
    labels.push_back(
        {{"label", label.name},
         {"index", label.label},
         {"train", {{"prefill", label.tokens[0][0]}, {"decode", label.tokens[0][1]}}},
         {"held_out", {{"prefill", label.tokens[1][0]}, {"decode", label.tokens[1][1]}}}});
  return labels;
}

json SkewJson(const ProfileReport& report) {
  json layers = json::array();
  for (size_t i = 0; i < report.skew.size(); ++i) {
    const Skew& skew = report.skew[i];
    json layer = {{"layer", report.model.dense_layers + static_cast<int>(i)},
                  {"gini", skew.gini},
                  {"entropy_share", skew.entropy_share}};
    for (size_t p = 0; p < skew.top.size(); ++p)
      layer["top_" + std::to_string(kTopPercents[p]) + "_percent"] = skew.top[p];
    layers.push_back(std::move(layer));
  }
  return layers;
}

json CurvesJson(const ReportedCurves& reported) {
  const HitCurves& curves = reported.curves;
  json out = {{"label_index", reported.label},
              {"phase", Name(reported.phase)},
              {"train_tokens", curves.train_tokens},
              {"held_out_tokens", curves.judged_tokens},
              {"hot", curves.hot}};
  const bool known = curves.judged_tokens > 0 && curves.train_tokens > 0;
  if (known)
    out["hit_rate"] = {{"frequency", curves.frequency},
                       {"per_layer", curves.per_layer},
                       {"oracle", curves.oracle},
                       {"uniform", curves.uniform}};
  else
    out["hit_rate"] = nullptr;  // nothing was held out, or nothing else recorded
  return out;
}

// -1 stands for "not known".
json MatrixJson(const std::vector<std::vector<double>>& values) {
  json rows = json::array();
  for (const std::vector<double>& row : values) {
    json cells = json::array();
    for (const double value : row) cells.push_back(value < 0 ? json(nullptr) : json(value));
    rows.push_back(std::move(cells));
  }
  return rows;
}

json StepsJson(const ProfileReport& report) {
  json out = {{"distinct", json::array()}, {"reuse", json::array()}, {"drift", json::array()}};
  for (const DistinctPoint& point : report.distinct)
    out["distinct"].push_back({{"rows", point.rows},
                               {"steps", point.steps},
                               {"distinct", point.distinct},
                               {"independent", point.independent}});
  for (const ReusePoint& point : report.reuse)
    out["reuse"].push_back({{"less_than_tokens", point.tokens},
                            {"share", point.share},
                            {"independent", point.independent}});
  for (const DriftPoint& point : report.drift)
    out["drift"].push_back({{"tokens", point.tokens},
                            {"to_previous", point.to_previous},
                            {"to_first", point.to_first}});
  return out;
}

json PairsJson(const ProfileReport& report) {
  json pairs = json::array();
  for (const ReportedPair& reported : report.pairs) {
    const int layer = reported.pair.moe_layer + report.model.dense_layers;
    pairs.push_back({{"first_layer", layer},
                     {"first", reported.pair.first},
                     {"second_layer", layer + (reported.pair.next_layer ? 1 : 0)},
                     {"second", reported.pair.second},
                     {"share_of_tokens", reported.share},
                     {"times_independent", reported.times}});
  }
  return pairs;
}

}  // namespace

std::string ReportJson(const ProfileReport& report) {
  json out = {
      {"model",
       {{"text", Describe(report.model)},
        {"dense_layers", report.model.dense_layers},
        {"moe_layers", report.model.moe_layers()},
        {"experts", report.model.experts},
        {"top_k", report.model.top_k}}},
      {"recorded_unix_s", report.recorded_unix_s},
      {"tokens",
       {{"train", report.tokens(Split::kTrain)}, {"held_out", report.tokens(Split::kHeldOut)}}},
      {"label_index", report.options.label},
      {"phase", report.options.phase ? json(Name(*report.options.phase)) : json(nullptr)},
      {"labels", LabelsJson(report)},
      {"skew", SkewJson(report)},
      {"window_tokens", report.window_tokens},
      {"drift_percent", kDriftPercent},
      {"random_jaccard", JaccardOfRandomSets(kDriftPercent)},
      {"pairs", PairsJson(report)}};
  out.update(StepsJson(report));
  out["curves"] = json::array();
  for (const ReportedCurves& curves : report.curves) out["curves"].push_back(CurvesJson(curves));
  out["differences"] = {{"label_indices", report.differences.labels},
                        {"match_percent", kMatchPercent},
                        {"match", MatrixJson(report.differences.match)},
                        {"jaccard", MatrixJson(report.differences.jaccard)},
                        {"jensen_shannon", MatrixJson(report.differences.jensen_shannon)}};
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace tandem
