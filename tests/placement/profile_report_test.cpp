#include "placement/profile_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "placement/profile_file.h"
#include "placement/profile_page.h"
#include "placement/text_bars.h"
#include "tests/placement/sample_profile.h"

namespace tandem {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

const SampleOptions kSmall = {.layers = 6,
                              .dense_layers = 2,
                              .experts = 32,
                              .top_k = 4,
                              .prefill_tokens = 900,
                              .decode_tokens = 600};

TEST(SampleProfile, IsOneThatCouldHaveBeenRecorded) {
  EXPECT_TRUE(CheckProfile(MakeSampleProfile(kSmall)).ok())
      << CheckProfile(MakeSampleProfile(kSmall));
}

TEST(ProfileReport, HitRatesAreOfHeldOutTokensOnly) {
  ExpertProfile profile = MakeSampleProfile(kSmall);
  const ProfileReport report = MakeProfileReport(profile, {.percents = {10, 50}});
  const Split train = Split::kTrain, held_out = Split::kHeldOut;
  const Phase decode = Phase::kDecode;
  const RoutingCounts ranked = SumCounts(profile, -1, &train, &decode);
  const RoutingCounts judged = SumCounts(profile, -1, &held_out, &decode);
  const HitCurves& curves = report.curves[1].curves;
  ASSERT_EQ(report.curves[1].phase, decode);
  EXPECT_EQ(curves.judged_tokens, 600);  // 200 of each label
  EXPECT_EQ(curves.train_tokens, 1800);
  EXPECT_EQ(curves.frequency, HitRates(RankByFrequency(ranked.hits), judged.hits, curves.hot));
  EXPECT_GT(curves.oracle[0], curves.frequency[0]);
  EXPECT_GT(curves.frequency[0], curves.uniform[0]);
}

TEST(ProfileReport, OneLabelAndPhaseOnly) {
  const ExpertProfile profile = MakeSampleProfile(kSmall);
  const ProfileReport report =
      MakeProfileReport(profile, {.label = 1, .phase = Phase::kPrefill, .percents = {10}});
  ASSERT_EQ(report.curves.size(), 1u);
  EXPECT_EQ(report.curves[0].label, 1);
  EXPECT_EQ(report.curves[0].curves.judged_tokens, 300);
  const Phase prefill = Phase::kPrefill;
  const RoutingCounts counts = SumCounts(profile, 1, nullptr, &prefill);
  EXPECT_DOUBLE_EQ(report.skew[3].gini, SkewOf(std::span(counts.hits).subspan(96, 32)).gini);
}

TEST(ProfileReport, LabelsDifferMoreThanSamplesOfOne) {
  const ProfileReport report = MakeProfileReport(MakeSampleProfile(kSmall), {});
  const LabelDifferences& found = report.differences;
  ASSERT_EQ(found.labels.size(), 3u);
  for (int a = 0; a < 3; ++a)
    for (int b = 0; b < 3; ++b) {
      if (a == b) continue;
      EXPECT_GT(found.match[b][b], found.match[a][b]);
      EXPECT_GT(found.jaccard[a][a], found.jaccard[a][b]);
      EXPECT_LT(found.jensen_shannon[a][a], found.jensen_shannon[a][b]);
    }
}

TEST(ProfileReport, DriftShowsWhereTheRequestsChange) {
  SampleOptions options = kSmall;
  options.held_out = false;
  options.decode_tokens = 2560;  // ten windows of each label
  const ProfileReport report = MakeProfileReport(MakeSampleProfile(options), {});
  ASSERT_EQ(report.drift.size(), 29u);
  EXPECT_EQ(report.drift[0].tokens, 512);
  EXPECT_LT(report.drift[9].to_previous, report.drift[8].to_previous);  // "code" to "chat"
  EXPECT_LT(report.drift[15].to_first, report.drift[15].to_previous);
}

TEST(ProfileReport, AHalfEmptyLastWindowIsNoDrift) {
  SampleOptions options = kSmall;
  options.labels = {"one"};
  options.held_out = false;
  options.decode_tokens = 3 * 256 + 100;
  EXPECT_EQ(MakeProfileReport(MakeSampleProfile(options), {}).drift.size(), 2u);
}

TEST(ProfileReport, TextFitsATerminal) {
  SampleOptions options;
  options.prefill_tokens = 100;
  options.decode_tokens = 300;
  options.labels = {"a label whose name is far too long for any column of the table", "ümläute", "",
                    "line\nbreak"};
  const std::string text = ReportText(MakeProfileReport(MakeSampleProfile(options), {}));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    EXPECT_EQ(Column(line, 100).substr(0, line.size()), line) << "longer than 100 columns";
  EXPECT_THAT(text, HasSubstr("a label whose name ..."));
  EXPECT_THAT(text, HasSubstr("(no label)"));
  EXPECT_THAT(text, HasSubstr("line?break"));
  for (const char* section :
       {"Tokens", "Skew", "Hit rate", "Distinct", "Reuse", "Drift", "Labels", "Experts chosen"})
    EXPECT_THAT(text, HasSubstr(section));
}

TEST(ProfileReport, SaysThatNothingWasHeldOut) {
  SampleOptions options = kSmall;
  options.held_out = false;
  const ProfileReport report = MakeProfileReport(MakeSampleProfile(options), {});
  const std::string text = ReportText(report);
  EXPECT_THAT(text, HasSubstr("decode: no held-out tokens, so no hit rate can be told"));
  EXPECT_THAT(text, Not(HasSubstr("oracle")));
  for (const json& curve : json::parse(ReportJson(report))["curves"])
    EXPECT_TRUE(curve["hit_rate"].is_null());
}

TEST(ProfileReport, AnEmptyProfileIsShownToo) {
  ExpertProfile empty;
  empty.model = {.architecture = "x", .layers = 3, .dense_layers = 1, .experts = 8, .top_k = 2};
  EXPECT_THAT(ReportText(MakeProfileReport(empty, {})), HasSubstr("no held-out tokens"));
  EXPECT_TRUE(json::accept(ReportJson(MakeProfileReport(empty, {}))));
}

TEST(ProfileReport, JsonHoldsTheFigures) {
  const ProfileReport report = MakeProfileReport(MakeSampleProfile(kSmall), {});
  const json parsed = json::parse(ReportJson(report));
  EXPECT_EQ(parsed["skew"].size(), 4u);
  EXPECT_EQ(parsed["skew"][0]["layer"], 2);
  EXPECT_EQ(parsed["tokens"]["held_out"], 3 * (300 + 200));
  EXPECT_EQ(parsed["curves"][1]["hit_rate"]["frequency"], report.curves[1].curves.frequency);
  EXPECT_EQ(parsed["differences"]["match"].size(), 3u);
}

// The data of a page can be read back, whatever the labels say.
TEST(ProfilePage, LabelsCannotLeaveTheScriptElement) {
  SampleOptions options = kSmall;
  const std::string hostile = "</script><b>&<!--<script>";
  options.labels = {hostile, "{{data}}"};
  const std::string page = ProfilePage(MakeSampleProfile(options), "</title>{{page}}");
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
  const std::string open = "id=\"data\">";
  const size_t begin = page.find(open) + open.size();
  const json data = json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  EXPECT_EQ(data["title"], "</title>{{page}}");
  EXPECT_EQ(data["report"]["labels"][0]["label"], hostile);
  EXPECT_EQ(data["report"]["labels"][1]["label"], "{{data}}");
  EXPECT_EQ(data["counts"].size(), 3u);
  EXPECT_EQ(data["counts"][1]["hits"][0][1].size(), 4u * 32);
}

TEST(TextBars, BarsAreAlwaysAsWide) {
  EXPECT_EQ(Bar(0, 3), "   ");
  EXPECT_EQ(Bar(0.5, 3), "█▌ ");
  EXPECT_EQ(Bar(1, 3), "███");
  EXPECT_EQ(Bar(7, 3), "███");
}

TEST(TextBars, ColumnsCountCharacters) {
  EXPECT_EQ(Column("äö", 4), "äö  ");
  EXPECT_EQ(Column("äöüßäö", 5), "äö...");
  EXPECT_EQ(Column("abc", 0), "");
  EXPECT_EQ(Thousands(1234567), "1,234,567");
  EXPECT_EQ(Thousands(-123456), "-123,456");
  EXPECT_EQ(Thousands(999), "999");
}

}  // namespace
}  // namespace tandem
