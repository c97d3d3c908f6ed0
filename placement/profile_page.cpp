#include "placement/profile_page.h"

#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "core/embedded_file.h"
#include "core/status.h"

namespace tandem {

std::span<const EmbeddedFile> ProfilePageFiles();  // cmake/embed.cmake

namespace {

using nlohmann::json;

// Finer where placements lie.
const std::vector<double> kPagePercents = {0,  0.5, 1,  1.5, 2,  3,  4,  5,  6,  7,
                                           8,  10,  12, 14,  16, 18, 20, 25, 30, 35,
                                           40, 45,  50, 60,  70, 80, 90, 100};

json HitsJson(const LabelProfile& label) {
  json splits = json::array();
  for (const auto& split : label.counts) {
    json phases = json::array();
    for (const RoutingCounts& counts : split)
      phases.push_back(counts.tokens == 0 ? json(nullptr) : json(counts.hits));
    splits.push_back(std::move(phases));
  }
  return splits;
}

// [label]{index, hits[split][phase][cells]}; null for hits where there are no tokens. All labels
// together come first, as index -1, then those that the report shows by themselves.
json CountsJson(const ExpertProfile& profile, const ProfileReport& report) {
  LabelProfile sum;
  for (const Split split : {Split::kTrain, Split::kHeldOut})
    for (const Phase phase : {Phase::kPrefill, Phase::kDecode})
      sum.counts[static_cast<int>(split)][static_cast<int>(phase)] =
          SumCounts(profile, -1, &split, &phase);
  json all = json::array({{{"index", -1}, {"hits", HitsJson(sum)}}});
  if (report.labels.size() < 2) return all;
  for (size_t i = 0; i < report.labels.size() && i < kReportedLabels; ++i) {
    const int index = report.labels[i].label;
    all.push_back({{"index", index}, {"hits", HitsJson(profile.labels[index])}});
  }
  return all;
}

std::string_view File(std::string_view name) {
  for (const EmbeddedFile& file : ProfilePageFiles())
    if (file.name == name) return file.text;
  TANDEM_CHECK(false, "the page's files are embedded");
  return "";
}

// Replaces the line "{{name}}" of the page; what is put in is not looked at again.
std::string Assemble(std::string_view page, const std::map<std::string_view, std::string>& parts) {
  std::string out;
  while (true) {
    const size_t open = page.find("{{");
    out += page.substr(0, open);
    if (open == std::string_view::npos) return out;
    const size_t close = page.find("}}", open);
    const auto part = parts.find(page.substr(open + 2, close - open - 2));
    TANDEM_CHECK(part != parts.end(), "page.html names parts that exist");
    out += part->second;
    page.remove_prefix(close + 2);
  }
}

}  // namespace

std::string ForScriptElement(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  for (const char c : json) {
    if (c == '<')
      out += "\\u003c";
    else if (c == '>')
      out += "\\u003e";
    else if (c == '&')
      out += "\\u0026";
    else
      out += c;
  }
  return out;
}

std::string ProfilePage(const ExpertProfile& profile, const std::string& title) {
  const ProfileReport report = MakeProfileReport(profile, {.percents = kPagePercents});
  const auto text = [](const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
  };
  const std::string data = "{\"title\":" + text(title) + ",\"report\":" + ReportJson(report) +
                           ",\"counts\":" + text(CountsJson(profile, report)) + "}";
  return Assemble(File("page.html"), {{"style", std::string(File("page.css"))},
                                      {"charts", std::string(File("charts.js"))},
                                      {"heatmap", std::string(File("heatmap.js"))},
                                      {"page", std::string(File("page.js"))},
                                      {"data", ForScriptElement(data)}});
}

}  // namespace tandem
