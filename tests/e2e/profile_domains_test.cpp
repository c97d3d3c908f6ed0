// Does a profile help the requests that it was made for? The demo model answers prompts of four
// domains; hot experts chosen from one domain's counts are judged on passages that it never saw, of
// the same domain and of the others. docs/placement.md shows the table that this prints.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "placement/hit_curve.h"
#include "placement/profile_file.h"
#include "placement/profile_merge.h"
#include "tools/record_prompts.h"

namespace tandem {
namespace {

const std::vector<std::string> kDomains = {"prose", "dictionary", "manual", "german"};
constexpr double kPercents[] = {10, 20, 30, 50};

std::string DemoFolder() {
  const char* source = std::getenv("TANDEM_SOURCE_DIR");
  return std::string(source != nullptr ? source : ".") + "/tools/demo";
}

// Passages of held-out documents, by domain.
std::vector<Prompt> Passages(const std::string& domain) {
  std::ifstream file(DemoFolder() + "/heldout.jsonl");
  std::vector<Prompt> passages;
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line);
    if (json.at("domain") == domain) passages.push_back({json.at("ids"), ""});
  }
  return passages;
}

class ProfileDomains : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    EngineOptions options;
    options.model_dir = DemoFolder() + "/model";
    options.prefix_cache = false;
    auto engine = Engine::Create(options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    for (const std::string& domain : kDomains) {
      const auto prompts = ReadPrompts(DemoFolder() + "/domains/" + domain + ".txt",
                                       engine_->tokenizer(), ChatStyle::kK26);
      ASSERT_TRUE(prompts.ok()) << prompts.status();
      RecordOptions options{.label = domain, .generate = 48, .ignore_eos = true};
      const auto trained = RecordPrompts(*engine_, *prompts, options);
      ASSERT_TRUE(trained.ok()) << trained.status();
      options.generate = 32;
      const auto judged = RecordPrompts(*engine_, Passages(domain), options);
      ASSERT_TRUE(judged.ok()) << judged.status();
      trained_.push_back(*trained);
      judged_.push_back(*judged);
    }
  }
  static void TearDownTestSuite() { engine_.reset(); }

  // [kPercents], all phases together, or one.
  static std::vector<double> Rates(const ExpertProfile& from, const ExpertProfile& on,
                                   const Phase* phase = nullptr) {
    const RoutingCounts train = SumCounts(from), judged = SumCounts(on, -1, nullptr, phase);
    return MakeHitCurves(train.hits, judged.hits, from.model.experts,
                         HotCounts(std::ssize(train.hits), kPercents))
        .frequency;
  }

  static inline std::unique_ptr<Engine> engine_;
  static inline std::vector<ExpertProfile> trained_, judged_;  // [kDomains]
};

TEST_F(ProfileDomains, AMatchingProfileHitsMoreOnHeldOutPassages) {
  constexpr Phase kPrefill = Phase::kPrefill, kDecode = Phase::kDecode;
  for (const Phase* phase : {static_cast<const Phase*>(nullptr), &kPrefill, &kDecode}) {
    std::printf("%s\n%-12s %-12s   10 %%   20 %%   30 %%   50 %%\n",
                phase == nullptr     ? "all"
                : *phase == kPrefill ? "prefill"
                                     : "decode",
                "profile of", "judged on");
    std::vector<double> mean_same(4), mean_other(4);
    for (size_t on = 0; on < kDomains.size(); ++on) {
      for (size_t from = 0; from < kDomains.size(); ++from) {
        const std::vector<double> rates = Rates(trained_[from], judged_[on], phase);
        std::printf("%-12s %-12s %6.3f %6.3f %6.3f %6.3f%s\n", kDomains[from].c_str(),
                    kDomains[on].c_str(), rates[0], rates[1], rates[2], rates[3],
                    from == on ? "  <-- the same" : "");
        for (int i = 0; i < 4; ++i)
          (from == on ? mean_same : mean_other)[i] += rates[i] / (from == on ? 4 : 12);
      }
    }
    for (const auto* mean : {&mean_same, &mean_other})
      std::printf("%-25s %6.3f %6.3f %6.3f %6.3f\n",
                  mean == &mean_same ? "mean, same domain" : "mean, other domain", (*mean)[0],
                  (*mean)[1], (*mean)[2], (*mean)[3]);
    for (int i = 0; i < 4; ++i) EXPECT_GT(mean_same[i], mean_other[i]) << kPercents[i] << " %";
  }
}

TEST_F(ProfileDomains, EachDomainIsBestServedByItsOwnProfile) {
  for (size_t on = 0; on < kDomains.size(); ++on) {
    const double same = Rates(trained_[on], judged_[on])[1];  // at 20 %
    for (size_t from = 0; from < kDomains.size(); ++from) {
      if (from == on) continue;
      EXPECT_GT(same, Rates(trained_[from], judged_[on])[1])
          << kDomains[on] << " by a profile of " << kDomains[from];
    }
  }
}

// The sum of all domains is a fair compromise: better than a wrong profile, on average.
TEST_F(ProfileDomains, MergedProfilesServeAll) {
  ExpertProfile all = trained_[0];
  for (size_t i = 1; i < trained_.size(); ++i) all = *MergeProfiles(all, trained_[i]);
  EXPECT_EQ(CheckProfile(all), absl::OkStatus());
  double merged = 0, wrong = 0;
  std::printf("merged profile, judged on    10 %%   20 %%   30 %%   50 %%\n");
  for (size_t on = 0; on < kDomains.size(); ++on) {
    const std::vector<double> rates = Rates(all, judged_[on]);
    std::printf("%-25s %6.3f %6.3f %6.3f %6.3f\n", kDomains[on].c_str(), rates[0], rates[1],
                rates[2], rates[3]);
    merged += rates[1] / 4;
    for (size_t from = 0; from < kDomains.size(); ++from)
      if (from != on) wrong += Rates(trained_[from], judged_[on])[1] / 12;
  }
  EXPECT_GT(merged, wrong);
  for (size_t i = 0; i < kDomains.size(); ++i) {
    const auto diff = DiffProfiles(trained_[0], trained_[i]);
    std::printf("prose and %-12s JS %.3f bits, top 10 %% overlap %.2f, ranks %.2f\n",
                kDomains[i].c_str(), diff->overall.mean.jensen_shannon,
                diff->overall.mean.top_overlap, diff->overall.mean.rank_correlation);
  }
}

TEST_F(ProfileDomains, RecordingCountsEveryToken) {
  const auto prompts =
      ReadPrompts(DemoFolder() + "/domains/chat.txt", engine_->tokenizer(), ChatStyle::kK26);
  ASSERT_TRUE(prompts.ok());
  int64_t prompt_tokens = 0;
  for (const Prompt& prompt : *prompts) prompt_tokens += std::ssize(prompt.ids);
  const auto profile = RecordPrompts(
      *engine_, *prompts, {.label = "chat", .generate = 9, .ignore_eos = true, .in_flight = 3});
  ASSERT_TRUE(profile.ok());
  EXPECT_EQ(CheckProfile(*profile), absl::OkStatus());
  const Phase prefill = Phase::kPrefill, decode = Phase::kDecode;
  EXPECT_EQ(SumCounts(*profile, 0, nullptr, &prefill).tokens, prompt_tokens);
  EXPECT_EQ(SumCounts(*profile, 0, nullptr, &decode).tokens, 10 * 8);  // the first is prefill's
  const Split held_out = Split::kHeldOut;
  EXPECT_GT(SumCounts(*profile, 0, &held_out).tokens, 0);
  EXPECT_EQ(profile->model, engine_->identity());
}

}  // namespace
}  // namespace tandem
