#include "bench/e2e.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <vector>

#include "bench/calibration.h"
#include "core/memory.h"
#include "core/trace.h"
#include "core/worker_team.h"
#include "engine/checkpoint/checkpoint.h"
#include "placement/footprint.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

struct Timing {
  double prefill_s = 0, decode_s = 0;
  int32_t generated = 0;
};

// One greedy generation of random ordinary tokens; times as the caller of the engine sees them.
absl::StatusOr<Timing> TimeOnce(Engine& engine, int32_t prompt, int32_t generate, uint64_t seed) {
  GenerationRequest request;
  std::mt19937_64 random(seed);
  const int32_t ordinary = engine.tokenizer().vocab_size() - 256;
  for (int32_t i = 0; i < prompt; ++i)
    request.prompt_ids.push_back(static_cast<int32_t>(random() % ordinary));
  request.sampling.temperature = 0;
  request.max_tokens = generate;
  request.ignore_eos = true;

  Clock::time_point first{}, last{};
  request.on_event = [&](const GenerationEvent& event) {
    if (event.tokens.empty()) return;
    last = Clock::now();
    if (first == Clock::time_point{}) first = last;
  };
  const Clock::time_point start = Clock::now();
  TANDEM_ASSIGN_OR_RETURN(const GenerationEvent answer, RunToEnd(engine, std::move(request)));
  TANDEM_RETURN_IF_ERROR(answer.status);
  return Timing{Seconds(start, first), Seconds(first, last), answer.usage.completion_tokens};
}

struct Summary {
  double median = 0, spread = 0;
};

Summary Summarize(std::vector<double> rates) {
  if (rates.empty()) return {};
  std::sort(rates.begin(), rates.end());
  const double median = rates[rates.size() / 2];
  return {median, (rates.back() - rates.front()) / median};
}

double DenseWeightBytes(DenseDType dtype) { return dtype == DenseDType::kInt8 ? 1.0 : 2.0; }

// Matrix weights that one token meets, for counting operations. The head counts once per sequence.
double WeightsPerPromptToken(const ModelShape& shape) {
  const Footprint f = ComputeFootprint(shape, 1.0);
  const double routed = f.routed_read_per_token / kInt4WeightBytes;
  return routed + f.dense_bytes - static_cast<double>(shape.hidden) * shape.vocab;
}

absl::StatusOr<Roofline> RooflineOf(int32_t threads) {
  WorkerTeam team({.workers = threads});
  return MeasureRoofline(team);
}

EngineOptions EngineOptionsOf(const E2eOptions& options) {
  EngineOptions engine = options.engine;
  if (options.steps && engine.kv_tokens == 0) {
    engine.kv_tokens = std::max<int64_t>(StepRatesKvTokens(*options.steps),
                                         options.prompt_tokens + options.generate_tokens);
  }
  return engine;
}

// What the rates of the machine say, before and after the run.
class Predictor {
 public:
  Predictor(const E2eOptions& options, const ModelShape& shape) : options_(options) {
    input_ = {.shape = shape,
              .weight_bits = options.engine.dense_dtype == DenseDType::kInt8 ? 8 : 16,
              .decode = options.decode_routing,
              .prefill = options.prefill_routing};
  }

  // Keeps the machine's rates, measured now if that is wanted.
  absl::Status TakeRates() {
    if (!options_.machine || (!options_.calibrate && !machines_.empty())) return absl::OkStatus();
    Machine machine = *options_.machine;
    if (options_.calibrate) {
      TANDEM_RETURN_IF_ERROR(Calibrate({.shapes = {input_.shape},
                                        .weight_bits = {input_.weight_bits},
                                        .threads = options_.engine.threads,
                                        .activations = options_.engine.expert_activations,
                                        .kernel = options_.engine.kernel,
                                        .effort = options_.steps ? 0.5 : 1},
                                       machine));
    }
    machines_.push_back(std::move(machine));
    return absl::OkStatus();
  }

  // Once the engine is there: what its plan says.
  void SetUp(const EngineOptions& engine, bool gpu) {
    input_.gpu = gpu;
    input_.chunk = engine.max_step_tokens;
    input_.stream = gpu && engine.device.stream != StreamExperts::kNever;
    const size_t cells = static_cast<size_t>(input_.shape.moe_layers()) * input_.shape.experts;
    input_.where = engine.plan ? ResidencesOf(*engine.plan) : Residences(cells, Residence::kRam);
  }

  absl::Status Fill(E2eResult& result) const {
    if (machines_.empty()) return absl::OkStatus();
    const Machine& machine = machines_.front();
    TANDEM_RETURN_IF_ERROR(CheckRates(machine, input_.shape, input_.weight_bits, input_.gpu));
    const int32_t prompt = options_.prompt_tokens;
    result.predicted_prefill_tok_per_s = PredictRate(input_, machines_, 0, prompt);
    result.predicted_decode_tok_per_s =
        PredictRate(input_, machines_, 1, prompt + options_.generate_tokens / 2);
    for (StepRate& step : result.steps)
      step.predicted_tok_per_s =
          PredictRate(input_, machines_, step.batch,
                      step.batch == 0 ? step.context : std::llround(step.mean_cached));
    result.predicted_by = options_.calibrate ? "measured before, within and after this run"
                                             : RatesText(machine.rates);
    return absl::OkStatus();
  }

 private:
  const E2eOptions& options_;
  PredictionInput input_;
  std::vector<Machine> machines_;
};

}  // namespace

absl::StatusOr<E2eResult> RunE2e(const E2eOptions& options) {
  E2eResult result;
  TANDEM_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options.engine.model_dir));
  Predictor predictor(options, config.shape);
  TANDEM_ASSIGN_OR_RETURN(result.roofline, RooflineOf(options.engine.threads));
  TANDEM_RETURN_IF_ERROR(predictor.TakeRates());
  const Clock::time_point start = Clock::now();
  TANDEM_ASSIGN_OR_RETURN(EngineParts parts, CreateEngineParts(EngineOptionsOf(options)));
  result.load_s = Seconds(start, Clock::now());
  if (options.steps) {
    std::vector<std::vector<StepRate>> rounds(options.step_rounds);
    for (auto& round : rounds) {
      if (&round != &rounds.front()) TANDEM_RETURN_IF_ERROR(predictor.TakeRates());
      TANDEM_ASSIGN_OR_RETURN(round, MeasureStepRates(parts, *options.steps));
    }
    result.steps = MedianRates(rounds);
  }
  const EngineOptions planned = parts.options;
  predictor.SetUp(planned, parts.model->dense().max_parts() > 1);
  std::unique_ptr<Engine> engine = std::make_unique<EngineLoop>(std::move(parts), planned);
  result.engine = engine->description();
  {
    TANDEM_ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::Open(options.engine.model_dir));
    result.checkpoint_bytes = checkpoint->total_bytes();
  }

  TANDEM_RETURN_IF_ERROR(
      TimeOnce(*engine, std::min(options.prompt_tokens, 64), 4, options.seed).status());
  std::vector<double> prefill, decode;
  for (int32_t run = 0; run < options.runs; ++run) {
    TANDEM_ASSIGN_OR_RETURN(
        const Timing t,
        TimeOnce(*engine, options.prompt_tokens, options.generate_tokens, options.seed + 1 + run));
    prefill.push_back(options.prompt_tokens / t.prefill_s);
    if (t.generated > 1) decode.push_back((t.generated - 1) / t.decode_s);
  }
  if (!options.trace_path.empty()) {
    Trace::Start();
    TANDEM_RETURN_IF_ERROR(
        TimeOnce(*engine, options.prompt_tokens, options.generate_tokens, options.seed).status());
    TANDEM_RETURN_IF_ERROR(Trace::StopAndWrite(options.trace_path));
  }
  result.peak_rss_bytes = ReadResidentMemory().peak_bytes;
  const ModelShape& shape = engine->config().shape;
  const Footprint footprint = ComputeFootprint(shape, DenseWeightBytes(options.engine.dense_dtype));
  result.read_bytes_per_token = footprint.read_per_token();
  const double weights_per_token = WeightsPerPromptToken(shape);
  engine.reset();  // its threads and memory, before the roofline wants both
  TANDEM_ASSIGN_OR_RETURN(const Roofline after, RooflineOf(options.engine.threads));
  result.roofline.TakeBest(after);
  TANDEM_RETURN_IF_ERROR(predictor.TakeRates());

  const Summary p = Summarize(prefill), d = Summarize(decode);
  result.prefill_tok_per_s = p.median;
  result.prefill_spread = p.spread;
  result.decode_tok_per_s = d.median;
  result.decode_spread = d.spread;
  result.decode_gb_per_s = d.median * result.read_bytes_per_token / 1e9;
  result.decode_fraction_of_roofline = result.decode_gb_per_s / result.roofline.read_gb_per_s;
  result.prefill_gops = 2 * weights_per_token * p.median / 1e9;
  TANDEM_RETURN_IF_ERROR(predictor.Fill(result));
  return result;
}

}  // namespace tandem
