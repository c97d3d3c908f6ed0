#include "placement/profile_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/placement/sample_profile.h"

namespace tandem {
namespace {

using nlohmann::json;

ExpertProfile TwoExperts() {
  ExpertProfile profile;
  profile.model = {.architecture = "x", .layers = 3, .dense_layers = 1, .experts = 2, .top_k = 1};
  LabelProfile label = {.name = "a \"b\", c"};
  label.counts[0][0] = {.tokens = 5, .hits = {5, 0, 2, 3}, .mass = {1.25, 0, 0.5, 2.0 / 3}};
  label.counts[1][1] = {.tokens = 1, .hits = {0, 1, 1, 0}, .mass = {0, 1, 1, 0}};
  for (auto [s, p] : {std::pair{0, 1}, {1, 0}})
    label.counts[s][p] = {.hits = std::vector<int64_t>(4), .mass = std::vector<double>(4)};
  profile.labels = {label};
  return profile;
}

TEST(ProfileExport, CsvIsComplete) {
  EXPECT_EQ(ProfileCsv(TwoExperts()),
            "layer,expert,label,phase,split,hits,mass\n"
            "1,0,\"a \"\"b\"\", c\",prefill,train,5,1.25\n"
            "1,1,\"a \"\"b\"\", c\",prefill,train,0,0\n"
            "2,0,\"a \"\"b\"\", c\",prefill,train,2,0.5\n"
            "2,1,\"a \"\"b\"\", c\",prefill,train,3,0.666667\n"
            "1,0,\"a \"\"b\"\", c\",decode,held_out,0,0\n"
            "1,1,\"a \"\"b\"\", c\",decode,held_out,1,1\n"
            "2,0,\"a \"\"b\"\", c\",decode,held_out,1,1\n"
            "2,1,\"a \"\"b\"\", c\",decode,held_out,0,0\n");
}

TEST(ProfileExport, CsvOfOnePhase) {
  const std::string csv = ProfileCsv(TwoExperts(), {.label = 0, .phase = Phase::kDecode});
  EXPECT_THAT(csv, testing::Not(testing::HasSubstr("prefill")));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 4);
}

TEST(ProfileExport, EplbCountsAllLayersOfTheModel) {
  const json all = json::parse(ProfileEplbJson(TwoExperts()));
  EXPECT_EQ(all["logical_count"], json::parse("[[0,0],[5,1],[3,3]]"));
  EXPECT_EQ(all["tokens"], 6);
  const json decode = json::parse(ProfileEplbJson(TwoExperts(), {.phase = Phase::kDecode}));
  EXPECT_EQ(decode["logical_count"], json::parse("[[0,0],[0,1],[1,0]]"));
}

TEST(ProfileExport, EplbOfOneLabel) {
  const ExpertProfile profile = MakeSampleProfile(
      {.layers = 4, .experts = 8, .top_k = 2, .prefill_tokens = 90, .decode_tokens = 30});
  int64_t tokens = 0;
  for (int label = 0; label < 3; ++label) {
    const json one = json::parse(ProfileEplbJson(profile, {.label = label}));
    int64_t sum = 0;
    for (const json& count : one["logical_count"][3]) sum += count.get<int64_t>();
    EXPECT_EQ(sum, 160 * 2);  // tokens, held-out ones too, by top_k
    tokens += one["tokens"].get<int64_t>();
  }
  EXPECT_EQ(tokens, profile.tokens());
}

}  // namespace
}  // namespace tandem
