#include "placement/profile_export.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"

namespace tandem {
namespace {

std::string Quoted(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  std::string quoted = "\"";
  for (const char c : field) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

void AppendLines(const ModelIdentity& model, const RoutingCounts& counts, const std::string& key,
                 std::string& csv) {
  for (int64_t layer = 0; layer < model.moe_layers(); ++layer)
    for (int64_t expert = 0; expert < model.experts; ++expert) {
      const int64_t cell = layer * model.experts + expert;
      absl::StrAppendFormat(&csv, "%d,%d,%s,%d,%.6g\n", layer + model.dense_layers, expert, key,
                            counts.hits[cell], counts.mass[cell]);
    }
}

}  // namespace

std::string ProfileCsv(const ExpertProfile& profile, const ExportOptions& options) {
  static constexpr const char* kPhaseNames[] = {"prefill", "decode"};
  static constexpr const char* kSplitNames[] = {"train", "held_out"};
  std::string csv = "layer,expert,label,phase,split,hits,mass\n";
  for (int l = 0; l < static_cast<int>(profile.labels.size()); ++l) {
    if (options.label >= 0 && options.label != l) continue;
    for (int p = 0; p < kPhases; ++p) {
      if (options.phase && static_cast<int>(*options.phase) != p) continue;
      for (int s = 0; s < kSplits; ++s) {
        const LabelProfile& label = profile.labels[l];
        const RoutingCounts& counts = label.counts[s][p];
        if (counts.tokens == 0) continue;
        const std::string key = Quoted(label.name) + "," + kPhaseNames[p] + "," + kSplitNames[s];
        AppendLines(profile.model, counts, key, csv);
      }
    }
  }
  return csv;
}

std::string ProfileEplbJson(const ExpertProfile& profile, const ExportOptions& options) {
  const Phase* phase = options.phase ? &*options.phase : nullptr;
  const RoutingCounts counts = SumCounts(profile, options.label, nullptr, phase);
  const int64_t experts = profile.model.experts;
  nlohmann::json rows = nlohmann::json::array();
  for (int64_t layer = 0; layer < profile.model.layers; ++layer) {
    std::vector<int64_t> row(experts);
    if (layer >= profile.model.dense_layers) {
      const auto begin = counts.hits.begin() + (layer - profile.model.dense_layers) * experts;
      row.assign(begin, begin + experts);
    }
    rows.push_back(std::move(row));
  }
  const nlohmann::json out = {
      {"logical_count", std::move(rows)}, {"num_layers", profile.model.layers},
      {"num_logical_experts", experts},   {"top_k", profile.model.top_k},
      {"tokens", counts.tokens},          {"model", Describe(profile.model)}};
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace tandem
