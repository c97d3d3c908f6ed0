// The whole engine over real checkpoints: a small random one in K2.6's format, and the demo model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <map>
#include <random>
#include <set>

#include "core/memory.h"
#include "engine/engine.h"
#include "engine/text/chat_format.h"
#include "tests/engine/many_requests.h"

namespace tandem {
namespace {

using testing::Ids;
using testing::RestingStats;

std::string SourceDir() {
  const char* dir = std::getenv("TANDEM_SOURCE_DIR");
  return dir ? dir : ".";
}

std::string RandomModelDir() { return SourceDir() + "/tests/golden/data/nested_k26"; }

std::string DemoModelDir() {
  const char* dir = std::getenv("TANDEM_DEMO_MODEL");
  return dir ? dir : SourceDir() + "/tools/demo/model";
}

std::vector<int32_t> RandomPrompt(const Engine& engine, int tokens, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(tokens);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % engine.config().shape.vocab);
  return ids;
}

GenerationRequest Greedy(std::vector<int32_t> prompt, int32_t max_tokens) {
  GenerationRequest request;
  request.prompt_ids = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_eos = true;
  return request;
}

struct RealCase {
  const char* name;
  std::string (*dir)();
  DenseDType dense;
  ExpertActivations activations;
};

class RealEngine : public ::testing::TestWithParam<RealCase> {
 protected:
  void SetUp() override {
    options_.model_dir = GetParam().dir();
    if (!std::filesystem::exists(options_.model_dir + "/config.json"))
      GTEST_SKIP() << "there is no model in " << options_.model_dir;
    options_.dense_dtype = GetParam().dense;
    options_.expert_activations = GetParam().activations;
    options_.max_step_tokens = 96;
    options_.max_sequences = 12;
    options_.kv_tokens = 64 * 64;
    auto engine = Engine::Create(options_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  EngineOptions options_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(RealEngine, ManyRequestsEqualTheirSingleRuns) {
  std::vector<GenerationRequest> requests;
  std::vector<std::vector<int32_t>> alone;
  for (int i = 0; i < 200; ++i) {
    // 40 different requests, each five times: the single runs would take long otherwise.
    if (i >= 40) {
      requests.push_back(requests[i - 40]);
      alone.push_back(alone[i - 40]);
      continue;
    }
    requests.push_back(Greedy(RandomPrompt(*engine_, 1 + (i * 37) % 150, i), 12 + (i * 13) % 14));
    alone.push_back(Ids(*RunToEnd(*engine_, requests.back())));
  }
  EXPECT_GT(testing::ExpectManyEqual(*engine_, requests, alone), 20);
  const int64_t before = ReadResidentMemory().now_bytes;
  requests.resize(80);
  testing::ExpectManyEqual(*engine_, requests, alone);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(ReadResidentMemory().now_bytes - before, 16 << 20) << "memory grows with requests";
#else
  (void)before;
#endif
}

void ExpectSameBits(const GenerationEvent& got, const GenerationEvent& expected) {
  EXPECT_EQ(Ids(got), Ids(expected));
  for (size_t t = 0; t < std::min(got.tokens.size(), expected.tokens.size()); ++t)
    ASSERT_EQ(got.tokens[t].logprob, expected.tokens[t].logprob) << "token " << t;
}

// Turns of one conversation: the next prompt is the last one, its answer and something new.
TEST_P(RealEngine, SameBitsWithAndWithoutThePrefixCache) {
  options_.prefix_cache = false;
  const auto plain = *Engine::Create(options_);
  std::vector<int32_t> conversation = RandomPrompt(*engine_, 100, 5);
  for (int turn = 0; turn < 6; ++turn) {
    GenerationRequest request = Greedy(conversation, 21);
    request.sampling.top_logprobs = 0;
    const auto expected = RunToEnd(*plain, request);
    const auto got = RunToEnd(*engine_, request);
    ExpectSameBits(*got, *expected);
    EXPECT_EQ(expected->usage.cached_tokens, 0);
    EXPECT_GE(got->usage.cached_tokens, turn == 0 ? 0 : std::ssize(conversation) - 11 - 8);
    ExpectSameBits(*RunToEnd(*engine_, request), *expected);  // all of it is cached
    for (const std::vector<int32_t>& more : {Ids(*got), RandomPrompt(*engine_, 10, 60 + turn)})
      conversation.insert(conversation.end(), more.begin(), more.end());
  }
}

TEST_P(RealEngine, SameBitsAfterPreemption) {
  std::vector<GenerationRequest> requests;
  std::vector<GenerationEvent> alone;
  for (int i = 0; i < 4; ++i) {
    GenerationRequest request = Greedy(RandomPrompt(*engine_, 60 + 20 * i, i), 80);
    request.sampling.top_logprobs = 0;
    request.priority = Priority::kBatch;
    requests.push_back(request);
    alone.push_back(*RunToEnd(*engine_, request));
  }
  options_.max_sequences = 2;
  options_.kv_tokens = 64 * 7;  // so that cached pages go, too
  const auto engine = *Engine::Create(options_);
  std::vector<std::future<GenerationEvent>> answers;
  for (const auto& request : requests) answers.push_back(testing::Start(*engine, request));
  for (int i = 0; i < 6; ++i) {
    GenerationRequest urgent = Greedy(RandomPrompt(*engine_, 150, 100 + i), 2);
    urgent.priority = Priority::kInteractive;
    EXPECT_TRUE(testing::RunWhenFull(*engine, 2, urgent)) << i;
  }
  for (size_t i = 0; i < requests.size(); ++i) ExpectSameBits(answers[i].get(), alone[i]);
  EXPECT_GE(RestingStats(*engine).preemptions, 6);
}

TEST_P(RealEngine, ScoresAgreeWithGeneration) {
  GenerationRequest request = Greedy(RandomPrompt(*engine_, 150, 9), 40);
  request.sampling.top_logprobs = 0;
  const auto answer = RunToEnd(*engine_, request);
  std::vector<int32_t> ids = request.prompt_ids;
  for (const auto& token : answer->tokens) ids.push_back(token.id);
  const auto scores = engine_->Score(ids);
  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ(scores->size(), ids.size());
  // Chunks and single rows may take different kernels; they differ by rounding alone.
  for (size_t i = 0; i < answer->tokens.size(); ++i)
    EXPECT_NEAR((*scores)[150 + i].logprob, answer->tokens[i].logprob, 0.15) << "token " << i;
  EXPECT_EQ(RestingStats(*engine_).kv_pages_used, 0);
}

// Counts rows by phase, and checks the order of the calls.
struct Listener : RoutingObserver {
  void BeginStep(std::span<const RoutedRow> rows) override {
    step.assign(rows.begin(), rows.end());
  }
  void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> ids,
              View<const float, 2> weights) override {
    ASSERT_LE(first_row + ids.dim(0), std::ssize(step));
    for (int64_t t = 0; t < ids.dim(0); ++t) {
      const RoutedRow& row = step[first_row + t];
      ++rows[row.phase];
      labels.insert(std::string(row.label));
      sequences.insert(row.sequence);
      float sum = 0;
      for (int64_t k = 0; k < ids.dim(1); ++k) sum += weights(t, k);
      EXPECT_GT(sum, 0);
    }
    layers.insert(layer.value);
  }
  void EndStep() override { ++steps; }
  std::vector<RoutedRow> step;
  std::map<Phase, int64_t> rows;
  std::set<std::string> labels;
  std::set<uint64_t> sequences;
  std::set<int32_t> layers;
  int steps = 0;
};

TEST_P(RealEngine, TellsWhatItRoutes) {
  const ModelShape& shape = engine_->config().shape;
  const auto listener = std::make_shared<Listener>();
  ASSERT_TRUE(engine_->Observe(listener).ok());
  GenerationRequest request = Greedy(RandomPrompt(*engine_, 130, 3), 5);
  request.label = "poems";
  request.cache_salt = "first";
  ASSERT_TRUE(RunToEnd(*engine_, request).ok());
  ASSERT_TRUE(engine_->StopObserving(listener.get()).ok());
  EXPECT_EQ(listener->rows[Phase::kPrefill], 130 * shape.moe_layers());
  EXPECT_EQ(listener->rows[Phase::kDecode], 4 * shape.moe_layers());
  EXPECT_EQ(listener->steps, 2 + 4) << "130 tokens in chunks of 96";
  EXPECT_EQ(std::ssize(listener->layers), shape.moe_layers());
  EXPECT_THAT(listener->labels, ::testing::ElementsAre("poems"));
  EXPECT_EQ(listener->sequences.size(), 1u);
  request.cache_salt = "second";  // or most of it would come from the cache
  ASSERT_TRUE(RunToEnd(*engine_, request).ok());
  EXPECT_EQ(listener->steps, 6) << "it was asked not to listen any more";
  const EngineStats stats = RestingStats(*engine_);
  EXPECT_EQ(stats.routed_pairs[0], int64_t{2} * 130 * shape.moe_layers() * shape.top_k);
  EXPECT_EQ(stats.routed_pairs[1], int64_t{2} * 4 * shape.moe_layers() * shape.top_k);
  EXPECT_EQ(stats.hot_pairs[0] + stats.hot_pairs[1], 0);
  EXPECT_EQ(stats.prefill_steps.steps, 2 * 2);
  EXPECT_EQ(stats.prefill_steps.rows, 2 * 130);
  EXPECT_EQ(stats.decode_steps.rows, 2 * 4);
  EXPECT_EQ(stats.decode_steps.cached_tokens, 2 * (130 + 131 + 132 + 133));
  EXPECT_GT(stats.decode_steps.seconds, 0);
}

TEST_P(RealEngine, TellsWhatItsLayersTake) {
  const ModelShape& shape = engine_->config().shape;
  ASSERT_TRUE(RunToEnd(*engine_, Greedy(RandomPrompt(*engine_, 130, 3), 2)).ok());
  const EngineStats stats = RestingStats(*engine_);
  const LayerTimes times = engine_->layer_times();
  for (const LayerTimes::Of& of : times.by_phase) {
    ASSERT_EQ(std::ssize(of.dense_s), shape.layers);
    ASSERT_EQ(std::ssize(of.experts_s), shape.layers);
    for (int32_t layer = 0; layer < shape.layers; ++layer) {
      EXPECT_GT(of.dense_s[layer], 0) << layer;
      EXPECT_EQ(of.experts_s[layer] > 0, shape.is_moe(layer)) << layer;
    }
  }
  EXPECT_EQ(times.by_phase[0].steps, 2) << "130 tokens in chunks of 96";
  EXPECT_EQ(times.by_phase[1].steps, 1);
  // One decode step: its average is itself, so its layers are part of it.
  const LayerTimes::Of& decode = times.by_phase[1];
  double sum_s = 0;
  for (int32_t layer = 0; layer < shape.layers; ++layer)
    sum_s += decode.dense_s[layer] + decode.experts_s[layer];
  EXPECT_LT(sum_s, stats.decode_steps.seconds);
}

INSTANTIATE_TEST_SUITE_P(
    Models, RealEngine,
    ::testing::Values(
        RealCase{"random_bf16", RandomModelDir, DenseDType::kBf16, ExpertActivations::kInt8},
        RealCase{"random_int8", RandomModelDir, DenseDType::kInt8, ExpertActivations::kInt8x2},
        RealCase{"demo_bf16", DemoModelDir, DenseDType::kBf16, ExpertActivations::kInt8},
        RealCase{"demo_int8", DemoModelDir, DenseDType::kInt8, ExpertActivations::kInt8}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(DemoModel, AnswersAChat) {
  EngineOptions options;
  options.model_dir = DemoModelDir();
  if (!std::filesystem::exists(options.model_dir + "/config.json"))
    GTEST_SKIP() << "there is no model in " << options.model_dir;
  const auto engine = Engine::Create(options);
  ASSERT_TRUE(engine.ok()) << engine.status();
  const nlohmann::ordered_json messages = {{{"role", "user"}, {"content", "What is a river?"}}};
  const auto chat = RenderChat((*engine)->tokenizer(), messages, nullptr, {.thinking = false});
  ASSERT_TRUE(chat.ok()) << chat.status();
  GenerationRequest request;
  request.prompt_ids = chat->ids;
  request.max_tokens = 200;
  request.sampling.temperature = 0;
  const auto answer = RunToEnd(**engine, request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_GT(answer->text.size(), 20u);
  EXPECT_THAT(answer->text, ::testing::Not(::testing::HasSubstr("<|")));
  std::printf("%s\n%.0f prompt tokens/s, %.0f tokens/s\n", answer->text.c_str(),
              answer->usage.prompt_tokens / answer->usage.prefill_s,
              answer->usage.completion_tokens / answer->usage.decode_s);
}

}  // namespace
}  // namespace tandem
