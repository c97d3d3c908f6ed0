// The whole engine on the emulated GPU and the CPU, hot experts replaced while it answers: greedy
// tokens are the reference's.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "engine/engine.h"
#include "engine/hot_set.h"
#include "tests/golden/golden_checks.h"

namespace tandem::golden {
namespace {

EngineOptions Options(const DeviceOptions& device) {
  EngineOptions options;
  options.model_dir = DataPath("../../../tools/demo/model");
  options.expert_activations = ExpertActivations::kInt8x2;
  options.max_step_tokens = 128;
  options.max_sequences = 8;
  options.kv_tokens = 4096;
  options.device = device;
  options.device.timeout = std::chrono::minutes(10);  // sanitizers are slow
  return options;
}

// One of the goldens, submitted; its tokens once it has ended.
struct Asked {
  std::vector<int32_t> ids;
  absl::Status status;
  std::promise<void> ended;
};

void Ask(Engine& engine, const GoldenSequence& golden, Asked& asked) {
  GenerationRequest request;
  request.prompt_ids = golden.prompt;
  request.sampling.temperature = 0;
  request.max_tokens = kSteps;
  request.ignore_eos = true;
  request.on_event = [&asked](const GenerationEvent& event) {
    for (const GeneratedToken& token : event.tokens) asked.ids.push_back(token.id);
    if (!event.finish) return;
    asked.status = event.status;
    asked.ended.set_value();
  };
  ASSERT_TRUE(engine.Submit(std::move(request)).ok());
}

TEST(HybridEngine, AnswersWhileHotExpertsAreReplaced) {
  const auto goldens = LoadGoldens(DataPath("demo.safetensors"));
  const auto engine = Engine::Create(Options({.device = Device::kEmulated,
                                              .allow_emulated = true,
                                              .hot_fraction = 0.25,
                                              .hot_experts_leave_ram = true}));
  ASSERT_TRUE(engine.ok()) << engine.status();
  const ModelShape& shape = (*engine)->config().shape;

  std::atomic<bool> stop = false;
  std::atomic<int> replaced = 0;
  std::thread replacing([&] {
    std::vector<std::vector<ExpertId>> hot = SpreadHotExperts(shape, 0.25);
    for (int i = 0; !stop; ++i) {
      const LayerId layer{shape.dense_layers + i % shape.moe_layers()};
      const ExpertId out = hot[layer.value][i % hot[layer.value].size()];
      const ExpertId in{(out.value + 1) % shape.experts};
      const absl::Status status = (*engine)->ReplaceHotExpert(layer, out, in);
      if (std::ranges::count(hot[layer.value], in) > 0) {
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
        continue;
      }
      EXPECT_EQ(status, absl::OkStatus());
      hot[layer.value][i % hot[layer.value].size()] = in;
      ++replaced;
    }
  });
  std::vector<Asked> asked(goldens.size());
  for (size_t i = 0; i < goldens.size(); ++i) Ask(**engine, goldens[i], asked[i]);
  for (Asked& one : asked) one.ended.get_future().wait();
  stop = true;
  replacing.join();
  EXPECT_GT(replaced, 10);
  for (size_t i = 0; i < goldens.size(); ++i) {
    EXPECT_EQ(asked[i].status, absl::OkStatus());
    EXPECT_EQ(asked[i].ids, goldens[i].greedy) << "sequence " << i;
  }
}

// Whoever asks for alternatives gets logits, and so the CPU's sampler: the same tokens.
TEST(HybridEngine, TheGpuSamplesAsTheCpuDoes) {
  const auto engine =
      Engine::Create(Options({.device = Device::kEmulated, .allow_emulated = true}));
  ASSERT_TRUE(engine.ok()) << engine.status();
  GenerationRequest request;
  request.prompt_ids = LoadGoldens(DataPath("demo.safetensors"))[1].prompt;
  request.max_tokens = 24;
  request.ignore_eos = true;
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 1, .seed = 1}, SamplingParams{.temperature = 1.5, .seed = 2},
        SamplingParams{.top_p = 0.7, .top_k = 20, .seed = 3},
        SamplingParams{.min_p = 0.05, .seed = 4}}) {
    std::vector<std::vector<int32_t>> answers;
    for (const int32_t top : {-1, 0, 1}) {
      request.sampling = params;
      request.sampling.top_logprobs = top;
      const auto answer = RunToEnd(**engine, request);
      ASSERT_TRUE(answer.ok() && answer->status.ok());
      std::vector<int32_t>& ids = answers.emplace_back();
      for (const GeneratedToken& token : answer->tokens) {
        ids.push_back(token.id);
        EXPECT_TRUE(top < 0 || token.logprob < 0);
      }
    }
    EXPECT_EQ(answers[0], answers[2]) << *params.seed;
    EXPECT_EQ(answers[1], answers[2]) << *params.seed;
  }
}

TEST(HybridEngine, SaysWhatItCannotDo) {
  const auto refused = Engine::Create(Options({.device = Device::kEmulated}));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("for tests"), std::string::npos);
  const auto half = Engine::Create(Options({.device = Device::kCpu, .hot_fraction = 0.5}));
  EXPECT_EQ(half.status().code(), absl::StatusCode::kInvalidArgument);
  const auto on_cpu = Engine::Create(Options({.device = Device::kCpu}));
  ASSERT_TRUE(on_cpu.ok());
  EXPECT_EQ((*on_cpu)->ReplaceHotExpert({1}, {0}, {1}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tandem::golden
