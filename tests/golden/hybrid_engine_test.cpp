// The whole engine on the emulated GPU and the CPU, hot experts replaced while it answers: greedy
// tokens are the reference's.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "engine/engine.h"
#include "engine/hot_set.h"
#include "placement/footprint.h"
#include "placement/planner.h"
#include "placement/profile_recorder.h"
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

void Ask(Engine& engine, const GoldenSequence& golden, Asked& asked,
         Priority priority = Priority::kNormal) {
  GenerationRequest request;
  request.priority = priority;
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
  EngineOptions options = Options({.device = Device::kEmulated, .allow_emulated = true});
  options.prefix_cache = false;  // a GPU's bits depend on how a prompt is cut
  const auto engine = Engine::Create(options);
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

// A slow CPU and a fast GPU, so that every expert is worth its place there.
Machine MachineOf(int64_t gpu_bytes) {
  Machine machine;
  machine.name = "test";
  machine.memory_bytes = machine.available_bytes = int64_t{64} << 30;
  machine.nodes = {{.cores = 2, .memory_bytes = machine.memory_bytes, .read_gb_per_s = 1}};
  machine.rates = {.source = MachineRates::Source::kSpecified, .expert_gops = 1, .dense_gflops = 1};
  machine.gpu = GpuSpec{.name = "test",
                        .memory_bytes = gpu_bytes,
                        .hbm_gb_per_s = 1000,
                        .bf16_tflops = 100,
                        .int4_tflops = 100,
                        .pcie_gb_per_s = 10,
                        .pcie_beside_cpu_gb_per_s = 10};
  return machine;
}

// Recorded without a GPU, planned, obeyed with one: the plan's hit rate is what comes out.
TEST(HybridEngine, ProfilePlanAndMeasuredHitsAgree) {
  const GoldenSequence golden = LoadGoldens(DataPath("demo.safetensors")).front();
  const auto answer = [&](Engine& engine) {
    Asked asked;
    Ask(engine, golden, asked);
    asked.ended.get_future().wait();
    EXPECT_TRUE(asked.status.ok()) << asked.status;
    EXPECT_EQ(asked.ids, golden.greedy);
  };
  const auto recorded = Engine::Create(Options({.device = Device::kCpu}));
  ASSERT_TRUE(recorded.ok()) << recorded.status();
  const ModelIdentity identity = (*recorded)->identity();
  const ModelShape shape = (*recorded)->config().shape;
  const auto recorder = std::make_shared<ProfileRecorder>(identity);
  ASSERT_TRUE((*recorded)->Observe(recorder).ok());
  answer(**recorded);
  ASSERT_TRUE((*recorded)->StopObserving(recorder.get()).ok());
  const ExpertProfile profile = recorder->Snapshot();

  // A GPU with room for everything, then one with less by half of the experts and more.
  const PlanGoals goals = {.context = 1024, .max_step_tokens = 128};
  const auto roomy = MakePlan(shape, identity, MachineOf(int64_t{16} << 30), &profile, goals);
  ASSERT_TRUE(roomy.ok()) << roomy.status();
  const int64_t all = int64_t{shape.moe_layers()} * shape.experts;
  ASSERT_EQ(roomy->hot_experts(), all);
  int64_t used = goals.vram_reserve_bytes;
  for (const BudgetLine& line : roomy->budget)
    if (line.place == "gpu") used += line.bytes;
  const int64_t spare = all * 3 / 4 * ExpertBytes(identity);
  const auto plan = MakePlan(shape, identity, MachineOf(used - spare), &profile, goals);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const double share = static_cast<double>(plan->hot_experts()) / static_cast<double>(all);
  ASSERT_GT(share, 0.1);
  ASSERT_LT(share, 0.5);

  EngineOptions options = Options({.device = Device::kEmulated, .allow_emulated = true});
  options.plan = std::make_shared<const Plan>(*plan);
  const auto planned = Engine::Create(options);
  ASSERT_TRUE(planned.ok()) << planned.status();
  answer(**planned);
  const EngineStats stats = (*planned)->stats();
  const double predicted[] = {plan->prefill_hit_rate, plan->decode_hit_rate};
  for (int phase = 0; phase < kPhases; ++phase) {
    const double measured = static_cast<double>(stats.hot_pairs[phase]) /
                            static_cast<double>(stats.routed_pairs[phase]);
    std::printf("[ hit rate ] phase %d: planned %.4f, measured %.4f\n", phase, predicted[phase],
                measured);
    EXPECT_NEAR(measured, predicted[phase], 0.01) << "phase " << phase;
    EXPECT_GT(measured, share) << "they were chosen by use";
  }
}

// A cache that the longest golden fills, so that each of the others preempts it, and its pages
// leave the GPU. What came back through RAM is what had left.
TEST(HybridEngine, PagesThatLeftTheGpuComeBackByCopies) {
  const auto goldens = LoadGoldens(DataPath("demo.safetensors"));
  int64_t rows_without = 0;
  for (const int64_t ram_tokens : {0, 1024}) {
    EngineOptions options = Options({.device = Device::kEmulated, .allow_emulated = true});
    options.kv_tokens = static_cast<int64_t>(goldens[0].prompt.size()) + kSteps;
    options.kv_ram_tokens = ram_tokens;
    const auto engine = Engine::Create(options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    std::vector<Asked> asked(goldens.size());
    Ask(**engine, goldens[0], asked[0], Priority::kBatch);
    while ((*engine)->stats().generated_tokens < 5) std::this_thread::yield();
    for (size_t i = 1; i < goldens.size(); ++i)
      Ask(**engine, goldens[i], asked[i], Priority::kInteractive);
    for (Asked& one : asked) one.ended.get_future().wait();
    for (size_t i = 0; i < goldens.size(); ++i) {
      EXPECT_EQ(asked[i].status, absl::OkStatus());
      EXPECT_EQ(asked[i].ids, goldens[i].greedy) << "sequence " << i;
    }
    const EngineStats stats = (*engine)->stats();
    std::printf("[ rows     ] %ld prompt rows, %ld pages saved, %ld loaded, %ld preemptions\n",
                stats.prompt_tokens, stats.pages_saved, stats.pages_loaded, stats.preemptions);
    EXPECT_GE(stats.preemptions, 1);
    EXPECT_GT(stats.evicted_pages, 3);
    EXPECT_LE(stats.ram_pages_used, stats.ram_pages_total);
    if (ram_tokens == 0) {
      rows_without = stats.prompt_tokens;
      EXPECT_EQ(stats.pages_loaded, 0);
    } else {
      EXPECT_GE(stats.pages_loaded, 3);
      EXPECT_LE(stats.prompt_tokens, rows_without - 3 * kPageTokens);
    }
  }
}

TEST(HybridEngine, SaysWhatItCannotDo) {
  const auto refused = Engine::Create(Options({.device = Device::kEmulated}));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("for tests"), std::string::npos);
  const auto half = Engine::Create(Options({.device = Device::kCpu, .hot_fraction = 0.5}));
  EXPECT_EQ(half.status().code(), absl::StatusCode::kInvalidArgument);
  EngineOptions in_ram = Options({.device = Device::kCpu});
  in_ram.kv_ram_tokens = 1000;
  EXPECT_NE(Engine::Create(in_ram).status().message().find("without one all of the cache lies in "
                                                           "RAM"),
            std::string::npos);
  const auto on_cpu = Engine::Create(Options({.device = Device::kCpu}));
  ASSERT_TRUE(on_cpu.ok());
  EXPECT_EQ((*on_cpu)->ReplaceHotExpert({1}, {0}, {1}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tandem::golden
