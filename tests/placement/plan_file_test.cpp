#include "placement/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "placement/planner.h"
#include "placement/sealed_file.h"
#include "tests/placement/planner_fixtures.h"

namespace tandem {
namespace {

using testing::HasSubstr;

std::string TempPath(const char* name) { return testing::TempDir() + "/" + name; }

Plan SomePlan() {
  Machine machine = DescribedMachine(2, 250'000'000'000, 230);
  machine.gpu = H100();
  machine.rates.disk_gb_per_s = 10;
  const ModelShape shape = KimiK26Shape();
  auto plan = MakePlan(shape, IdentityOf(shape, "kimi_k25"), machine, nullptr, {});
  EXPECT_TRUE(plan.ok()) << plan.status();
  plan->numa.assign(61, std::vector<NumaChoice>(384, {NumaHome::kWhole, 1}));
  plan->numa[0].clear();
  plan->numa[60][383] = {NumaHome::kReplicated, 0};
  return *plan;
}

bool Same(const StepTime& a, const StepTime& b) {
  return a.attention_s == b.attention_s && a.shared_s == b.shared_s &&
         a.cpu_experts_s == b.cpu_experts_s && a.disk_s == b.disk_s &&
         a.hot_experts_s == b.hot_experts_s && a.pcie_s == b.pcie_s && a.handoff_s == b.handoff_s &&
         a.head_s == b.head_s && a.other_s == b.other_s && a.total_s == b.total_s &&
         a.limit == b.limit;
}

TEST(PlanFile, RoundTrip) {
  const Plan plan = SomePlan();
  ASSERT_GT(plan.hot_experts(), 0);
  ASSERT_GT(plan.disk_experts(), 0);
  const std::string path = TempPath("round_trip.plan");
  ASSERT_TRUE(WritePlan(path, plan).ok());
  const auto read = ReadPlan(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->model, plan.model);
  EXPECT_EQ(read->machine, plan.machine);
  EXPECT_EQ(read->machine_id, plan.machine_id);
  EXPECT_EQ(read->rates, plan.rates);
  EXPECT_EQ(read->goals, plan.goals);
  EXPECT_EQ(read->gpu, plan.gpu);
  EXPECT_EQ(read->kv_tokens, plan.kv_tokens);
  EXPECT_EQ(read->hot, plan.hot);
  EXPECT_EQ(read->hot_experts_leave_ram, plan.hot_experts_leave_ram);
  EXPECT_EQ(read->on_disk, plan.on_disk);
  ASSERT_EQ(read->numa.size(), plan.numa.size());
  for (size_t l = 0; l < plan.numa.size(); ++l) {
    ASSERT_EQ(read->numa[l].size(), plan.numa[l].size());
    for (size_t e = 0; e < plan.numa[l].size(); ++e) {
      EXPECT_EQ(read->numa[l][e].home, plan.numa[l][e].home);
      EXPECT_EQ(read->numa[l][e].node, plan.numa[l][e].node);
    }
  }
  EXPECT_EQ(read->prefill.stream, plan.prefill.stream);
  EXPECT_EQ(read->prefill.break_even_tokens, plan.prefill.break_even_tokens);
  EXPECT_EQ(read->prefill.chunk_tokens, plan.prefill.chunk_tokens);
  ASSERT_EQ(read->budget.size(), plan.budget.size());
  for (size_t i = 0; i < plan.budget.size(); ++i) {
    EXPECT_EQ(read->budget[i].place, plan.budget[i].place);
    EXPECT_EQ(read->budget[i].what, plan.budget[i].what);
    EXPECT_EQ(read->budget[i].bytes, plan.budget[i].bytes);
    EXPECT_EQ(read->budget[i].why, plan.budget[i].why);
  }
  EXPECT_EQ(read->decode_hit_rate, plan.decode_hit_rate);
  EXPECT_EQ(read->prefill_hit_rate, plan.prefill_hit_rate);
  EXPECT_EQ(read->hit_rate_held_out, plan.hit_rate_held_out);
  EXPECT_EQ(read->profile, plan.profile);
  EXPECT_EQ(read->notes, plan.notes);
  ASSERT_EQ(read->rates_at.size(), plan.rates_at.size());
  for (size_t i = 0; i < plan.rates_at.size(); ++i) {
    const RatePoint &a = read->rates_at[i], &b = plan.rates_at[i];
    EXPECT_TRUE(a.batch == b.batch && a.context == b.context &&
                a.decode_tok_per_s == b.decode_tok_per_s &&
                a.prefill_tok_per_s == b.prefill_tok_per_s && Same(a.decode, b.decode) &&
                Same(a.prefill, b.prefill));
  }
}

std::string ErrorOf(const Plan& plan) {
  const std::string path = TempPath("contradiction.plan");
  EXPECT_TRUE(WritePlan(path, plan).ok());
  const auto read = ReadPlan(path);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss);
  return std::string(read.status().message());
}

TEST(PlanFile, RefusesContradictions) {
  const auto with = [](const auto& change) {
    Plan plan = SomePlan();
    change(plan);
    return ErrorOf(plan);
  };
  EXPECT_THAT(with([](Plan& p) { p.hot[5].push_back({384}); }), HasSubstr("has no expert 384"));
  EXPECT_THAT(with([](Plan& p) { p.hot[5].push_back({-1}); }), HasSubstr("has no expert -1"));
  EXPECT_THAT(with([](Plan& p) { p.hot[0].push_back({1}); }), HasSubstr("layer 0 has no expert"));
  EXPECT_THAT(with([](Plan& p) { p.hot[5].push_back(p.hot[5][0]); }), HasSubstr("named twice"));
  EXPECT_THAT(with([](Plan& p) { p.on_disk[5].push_back(p.hot[5][0]); }), HasSubstr("named twice"));
  EXPECT_THAT(with([](Plan& p) { p.hot.pop_back(); }), HasSubstr("60 layers, the model has 61"));
  EXPECT_THAT(with([](Plan& p) { p.numa[3].pop_back(); }), HasSubstr("383 NUMA homes"));
  EXPECT_THAT(with([](Plan& p) { p.numa[3][7].node = -2; }), HasSubstr("on node -2"));
  EXPECT_THAT(with([](Plan& p) { p.model.layers = 1 << 30; }), HasSubstr("experts of which"));
  EXPECT_THAT(with([](Plan& p) { p.model.layers = 0; }), HasSubstr("0 layers"));
  EXPECT_THAT(with([](Plan& p) { p.kv_tokens = -1; }), HasSubstr("a cache of -1 tokens"));
  EXPECT_THAT(with([](Plan& p) { p.decode_hit_rate = 1.5; }), HasSubstr("hit rate of 1.5"));
  EXPECT_THAT(with([](Plan& p) { p.gpu = false; }), HasSubstr("without a GPU"));
  EXPECT_THAT(with([](Plan& p) { p.goals.weight_bits = 4; }), HasSubstr("no sense"));
  EXPECT_THAT(with([](Plan& p) { p.budget[0].bytes = -5; }), HasSubstr("of -5 bytes"));
}

// Damage of any byte is seen, as is the file cut short anywhere.
TEST(PlanFile, RefusesDamage) {
  const std::string path = TempPath("damaged.plan");
  Plan plan = SomePlan();
  for (auto* list : {&plan.hot, &plan.on_disk})
    for (auto& layer : *list) layer.resize(std::min<size_t>(layer.size(), 2));
  plan.numa.clear();
  ASSERT_TRUE(WritePlan(path, plan).ok());
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  const auto read_back = [&](const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
    return ReadPlan(path).status();
  };
  ASSERT_TRUE(read_back(whole).ok());
  for (size_t i = 0; i < whole.size(); i += 1 + i / 40) {
    std::string text = whole;
    text[i] = static_cast<char>(text[i] ^ (1 << i % 8));
    EXPECT_FALSE(read_back(text).ok()) << "byte " << i;
    EXPECT_FALSE(read_back(whole.substr(0, i)).ok()) << "cut at byte " << i;
  }
  EXPECT_THAT(std::string(read_back("").message()), HasSubstr("empty"));
}

// A payload that passes the checksum but is not a plan, at random.
TEST(PlanFile, RefusesSealedNonsense) {
  const std::string path = TempPath("nonsense.plan");
  ASSERT_TRUE(WritePlan(path, SomePlan()).ok());
  const std::string payload = *ReadSealedFile(path, {"plan", 1});
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string text = payload;
    const int edits = 1 + static_cast<int>(random() % 8);
    for (int n = 0; n < edits; ++n) text[random() % text.size()] = static_cast<char>(random());
    ASSERT_TRUE(WriteSealedFile(path, {"plan", 1}, text).ok());
    const auto read = ReadPlan(path);  // must neither crash nor hand out what contradicts itself
    refused += !read.ok();
    if (read.ok()) {
      EXPECT_TRUE(CheckPlan(path, *read).ok());
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(PlanFile, RefusesOtherFiles) {
  const std::string path = TempPath("other.plan");
  ASSERT_TRUE(WriteSealedFile(path, {"profile", 1}, "x").ok());
  EXPECT_THAT(std::string(ReadPlan(path).status().message()), HasSubstr("a profile of Tandem"));
  ASSERT_TRUE(WriteSealedFile(path, {"plan", 9}, "x").ok());
  EXPECT_THAT(std::string(ReadPlan(path).status().message()), HasSubstr("version 9"));
  EXPECT_EQ(ReadPlan(TempPath("none.plan")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tandem
