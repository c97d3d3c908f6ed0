// The whole engine on the emulated GPU while its hot experts follow what decoding uses: the tokens
// are the reference's, the hit rate rises, and the simulator says of the same routing what the
// engine has measured.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "engine/engine.h"
#include "engine/hot_set.h"
#include "placement/simulator.h"
#include "tests/golden/golden_checks.h"

namespace tandem::golden {
namespace {

constexpr double kHotFraction = 0.25;

// Quick to learn: a test has hundreds of tokens, not tens of thousands.
AdapterOptions Eager() {
  return {.half_life_tokens = 100,
          .dwell_tokens = 60,
          .hysteresis = 1.2,
          .sigmas = 1,
          .interval_tokens = 16,
          .max_swaps = 6,
          .horizon_tokens = 1000,
          .cpu_expert_s = 1e-3,
          .send_expert_s = 1e-3};
}

EngineOptions Options(AdaptMode adapt, bool leave_ram = false) {
  EngineOptions options;
  options.model_dir = DataPath("../../../tools/demo/model");
  options.expert_activations = ExpertActivations::kInt8x2;
  options.max_step_tokens = 128;
  options.max_sequences = 4;
  options.kv_tokens = 2048;
  options.device = {.device = Device::kEmulated,
                    .allow_emulated = true,
                    .hot_fraction = kHotFraction,
                    .hot_experts_leave_ram = leave_ram,
                    .adapt = adapt,
                    .adapter = Eager()};
  options.device.timeout = std::chrono::minutes(10);  // sanitizers are slow
  return options;
}

// Keeps what it observes.
class TraceKeeper : public RoutingObserver {
 public:
  explicit TraceKeeper(const ModelShape& shape) { trace_.model = IdentityOf(shape, "kimi_k25"); }
  const RoutingTrace& trace() const { return trace_; }

  void BeginStep(std::span<const RoutedRow> rows) override {
    step_ = {};
    for (const RoutedRow& row : rows)
      step_.rows.push_back({static_cast<uint32_t>(row.sequence), row.phase});
    step_.ids.resize(rows.size() * trace_.model.moe_layers() * trace_.model.top_k);
  }
  void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> ids,
              View<const float, 2>) override {
    const int32_t top_k = trace_.model.top_k;
    for (int64_t row = 0; row < ids.dim(0); ++row) {
      const int64_t place =
          (first_row + row) * trace_.model.moe_layers() + layer.value - trace_.model.dense_layers;
      for (int32_t k = 0; k < top_k; ++k)
        step_.ids[place * top_k + k] =
            static_cast<uint16_t>(ids(row, k) < 0 ? ~ids(row, k) : ids(row, k));
    }
  }
  void EndStep() override { trace_.steps.push_back(std::move(step_)); }

 private:
  RoutingTrace trace_;
  TraceStep step_;
};

// Asks for a golden's greedy answer `times` times, one after the other: a workload that uses the
// same experts all the time.
void AskAgain(Engine& engine, const GoldenSequence& golden, int times) {
  for (int i = 0; i < times; ++i) {
    GenerationRequest request;
    request.prompt_ids = golden.prompt;
    request.sampling.temperature = 0;
    request.max_tokens = kSteps;
    request.ignore_eos = true;
    const auto answer = RunToEnd(engine, request);
    ASSERT_TRUE(answer.ok() && answer->status.ok());
    std::vector<int32_t> ids;
    for (const GeneratedToken& token : answer->tokens) ids.push_back(token.id);
    EXPECT_EQ(ids, golden.greedy);
  }
}

double DecodeRate(const EngineStats& begin, const EngineStats& end) {
  const int decode = static_cast<int>(Phase::kDecode);
  return static_cast<double>(end.hot_pairs[decode] - begin.hot_pairs[decode]) /
         static_cast<double>(end.routed_pairs[decode] - begin.routed_pairs[decode]);
}

SimulationResult Simulated(Engine& engine, const TraceKeeper& keeper, HotPolicy policy) {
  const auto results =
      Simulate(keeper.trace(), SpreadHotExperts(engine.config().shape, kHotFraction), {policy},
               {.adapter = Eager(), .held_out_only = false});
  EXPECT_TRUE(results.ok()) << results.status();
  return results->front();
}

void ExpectSameRates(const EngineStats& measured, const SimulationResult& simulated, double bound) {
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    const auto p = static_cast<size_t>(phase);
    EXPECT_EQ(measured.routed_pairs[p], simulated.of(phase).pairs);
    const double rate = static_cast<double>(measured.hot_pairs[p]) / measured.routed_pairs[p];
    EXPECT_NEAR(rate, simulated.of(phase).rate(), bound) << "phase " << p;
    std::printf("[ rates    ] %s, phase %zu: measured %.4f, simulated %.4f\n",
                std::string(Name(simulated.policy)).c_str(), p, rate, simulated.of(phase).rate());
  }
}

std::unique_ptr<Engine> Create(const EngineOptions& options) {
  auto engine = Engine::Create(options);
  TANDEM_CHECK(engine.ok(), engine.status().ToString().c_str());
  return *std::move(engine);
}

constexpr int kTimes = 12;

TEST(HybridAdaptation, FollowsWhatDecodingUsesAndIsAsSimulated) {
  const auto golden = LoadGoldens(DataPath("demo.safetensors"))[1];
  for (const bool leave_ram : {false, true}) {
    const auto engine = Create(Options(AdaptMode::kOn, leave_ram));
    const auto keeper = std::make_shared<TraceKeeper>(engine->config().shape);
    ASSERT_TRUE(engine->Observe(keeper).ok());
    AskAgain(*engine, golden, 1);
    const EngineStats early = engine->stats();
    AskAgain(*engine, golden, kTimes - 2);
    const EngineStats late = engine->stats();
    AskAgain(*engine, golden, 1);
    ASSERT_TRUE(engine->StopObserving(keeper.get()).ok());
    const EngineStats end = engine->stats();
    EXPECT_GT(DecodeRate(late, end), DecodeRate({}, early) + 0.1);
    std::printf("[ rates    ] decode: first answer %.3f, last %.3f; %lld swaps, %.1f kB, %.2f ms\n",
                DecodeRate({}, early), DecodeRate(late, end),
                static_cast<long long>(end.adaptation.done), end.adaptation.bytes * 1e-3,
                end.adaptation.copy_s * 1e3);
    EXPECT_GT(end.adaptation.done, 10);
    EXPECT_EQ(end.adaptation.dropped, 0);
    EXPECT_GE(end.adaptation.suggested, end.adaptation.done);
    EXPECT_EQ(end.adaptation.bytes, end.adaptation.done * 3 * 128 * 64 * 9 / 16);
    EXPECT_GT(end.adaptation.copy_s, 0);
    ExpectSameRates(end, Simulated(*engine, *keeper, HotPolicy::kEma), 0.01);
  }
}

TEST(HybridAdaptation, SuggestingChangesNothing) {
  const auto golden = LoadGoldens(DataPath("demo.safetensors"))[1];
  const auto engine = Create(Options(AdaptMode::kSuggest));
  const auto keeper = std::make_shared<TraceKeeper>(engine->config().shape);
  ASSERT_TRUE(engine->Observe(keeper).ok());
  AskAgain(*engine, golden, 4);
  ASSERT_TRUE(engine->StopObserving(keeper.get()).ok());
  const EngineStats stats = engine->stats();
  EXPECT_GT(stats.adaptation.suggested, 10);
  EXPECT_GT(stats.adaptation.expected_gain_s, 0);
  EXPECT_EQ(stats.adaptation.done, 0);
  EXPECT_EQ(stats.adaptation.bytes, 0);
  ExpectSameRates(stats, Simulated(*engine, *keeper, HotPolicy::kStatic), 1e-9);
}

TEST(HybridAdaptation, NeedsHotExperts) {
  EngineOptions options = Options(AdaptMode::kOn);
  options.device.hot_fraction = 0;
  const absl::Status status = Engine::Create(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("no hot experts"));
}

}  // namespace
}  // namespace tandem::golden
