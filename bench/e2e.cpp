#include "bench/e2e.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "absl/strings/str_format.h"
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

std::string StepsText(const std::vector<StepRate>& steps) {
  std::string text;
  for (const StepRate& s : steps) {
    const std::string what =
        s.batch == 0 ? absl::StrFormat("prefill of %d tokens", s.context)
                     : absl::StrFormat("decode, %d x %d cached tokens", s.batch, s.context);
    absl::StrAppendFormat(&text, "  %-34s %9.2f tok/s (quartiles %.0f %% apart)\n", what,
                          s.tok_per_s, 100 * s.spread);
  }
  return text;
}

}  // namespace

absl::StatusOr<E2eResult> RunE2e(const E2eOptions& options) {
  E2eResult result;
  TANDEM_ASSIGN_OR_RETURN(result.roofline, RooflineOf(options.engine.threads));
  const Clock::time_point start = Clock::now();
  TANDEM_ASSIGN_OR_RETURN(EngineParts parts, CreateEngineParts(EngineOptionsOf(options)));
  result.load_s = Seconds(start, Clock::now());
  if (options.steps) {
    TANDEM_ASSIGN_OR_RETURN(result.steps, MeasureStepRates(parts, *options.steps));
  }
  const EngineOptions planned = parts.options;
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

  const Summary p = Summarize(prefill), d = Summarize(decode);
  result.prefill_tok_per_s = p.median;
  result.prefill_spread = p.spread;
  result.decode_tok_per_s = d.median;
  result.decode_spread = d.spread;
  result.decode_gb_per_s = d.median * result.read_bytes_per_token / 1e9;
  result.decode_fraction_of_roofline = result.decode_gb_per_s / result.roofline.read_gb_per_s;
  result.prefill_gops = 2 * weights_per_token * p.median / 1e9;
  return result;
}

std::string E2eResult::ToText() const {
  return absl::StrFormat(
             "engine    %s\n"
             "load      %.1f s for %.2f GB, peak RSS %.2f GB (%.2f x the checkpoint)\n"
             "prefill   %.1f tok/s (spread %.0f %%), %.0f GOPS of %.0f\n"
             "decode    %.2f tok/s (spread %.0f %%), %.1f GB/s of %.1f: %.0f %% of the roofline\n",
             engine, load_s, checkpoint_bytes / 1e9, peak_rss_bytes / 1e9,
             static_cast<double>(peak_rss_bytes) / checkpoint_bytes, prefill_tok_per_s,
             100 * prefill_spread, prefill_gops, roofline.int8_gops, decode_tok_per_s,
             100 * decode_spread, decode_gb_per_s, roofline.read_gb_per_s,
             100 * decode_fraction_of_roofline) +
         StepsText(steps);
}

std::string E2eResult::ToJson() const {
  nlohmann::ordered_json rates = nlohmann::ordered_json::array();
  for (const StepRate& s : steps) {
    rates.push_back({{"phase", s.batch == 0 ? "prefill" : "decode"},
                     {"batch", std::max(1, s.batch)},
                     {"context", s.context},
                     {"tok_per_s", s.tok_per_s},
                     {"spread", s.spread}});
  }
  const nlohmann::ordered_json json{{"engine", engine},
                                    {"load_s", load_s},
                                    {"checkpoint_bytes", checkpoint_bytes},
                                    {"peak_rss_bytes", peak_rss_bytes},
                                    {"prefill_tok_per_s", prefill_tok_per_s},
                                    {"prefill_spread", prefill_spread},
                                    {"prefill_gops", prefill_gops},
                                    {"decode_tok_per_s", decode_tok_per_s},
                                    {"decode_spread", decode_spread},
                                    {"read_bytes_per_token", read_bytes_per_token},
                                    {"decode_gb_per_s", decode_gb_per_s},
                                    {"decode_fraction_of_roofline", decode_fraction_of_roofline},
                                    {"steps", std::move(rates)},
                                    {"roofline", nlohmann::ordered_json::parse(roofline.ToJson())}};
  return json.dump(2);
}

}  // namespace tandem
