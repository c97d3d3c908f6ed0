// `tandem bench e2e`: load, prefill, decode, against this machine's roofline.
#include <cstdio>

#include "bench/e2e.h"
#include "tools/command.h"
#include "tools/engine_flags.h"

namespace tandem {
namespace {

struct Options {
  EngineFlags engine = {.takes_emulated = true};
  E2eOptions bench;
  StepRatesOptions steps;
  bool by_step = false;
  bool json = false;
};

int Run(Options options) {
  options.engine.quiet |= options.json;
  options.bench.engine = options.engine.ToOptions();
  const auto start = PlanForStart(options.engine.plan, options.bench.engine);
  if (!start.ok()) return Fail(start.status());
  if (start->obeyed) options.bench.engine.plan = start->plan;
  options.bench.machine = start->machine;
  options.bench.decode_routing = start->decode;
  options.bench.prefill_routing = start->prefill;
  if (start->plan && !options.json) std::fputs(PlanSummary(*start).c_str(), stdout);
  if (options.by_step) options.bench.steps = options.steps;
  const auto result = RunE2e(options.bench);
  if (!result.ok()) return Fail(result.status());
  std::fputs((options.json ? result->ToJson() + "\n" : result->ToText()).c_str(), stdout);
  return 0;
}

}  // namespace

void AddBenchE2e(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo(
      "bench", "e2e",
      "load a checkpoint, prefill and decode: rates and their share of the roofline",
      "  tandem bench e2e tools/demo/model\n"
      "  tandem bench e2e /tmp/k2 --prompt 512 --generate 32 --dense-dtype int8 --json\n"
      "  tandem bench e2e /tmp/k2 --steps --batch 1,8,32 --context 128,4096");
  options->engine.AddTo(sub);
  options->engine.AddPlanTo(sub);
  sub->add_flag("--calibrate", options->bench.calibrate,
                "predict by rates that are measured before, within and after the run");
  sub->add_option("--prompt", options->bench.prompt_tokens, "random prompt tokens")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sub->add_option("--generate", options->bench.generate_tokens, "tokens to generate")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sub->add_option("--runs", options->bench.runs, "timed runs; medians are reported")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  sub->add_option("--seed", options->bench.seed, "of the random prompts")->capture_default_str();
  sub->add_flag("--steps", options->by_step, "rates by batch and context as well");
  sub->add_option("--batch", options->steps.batches, "of --steps: sequences decoding at once")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  sub->add_option("--context", options->steps.contexts, "of --steps: cached tokens of each")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  sub->add_option("--rounds", options->bench.step_rounds, "of --steps: over all of them; medians")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  sub->add_option("--trace", options->bench.trace_path,
                  "write a Perfetto trace of one more run to this file");
  sub->add_flag("--json", options->json, "machine-readable");
  commands.OnRun(sub, [options] { return Run(*options); });
}

}  // namespace tandem
