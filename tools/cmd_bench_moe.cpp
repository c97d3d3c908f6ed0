#include <cstdio>
#include <memory>

#include "bench/moe_bench.h"
#include "tools/command.h"

namespace tandem {
namespace {

struct Options {
  std::string shape = "k2.6";
  std::string activations = "int8";
  int32_t experts = 0;
  MoeBenchOptions bench;
  bool json = false;
};

int BenchMoe(const Options& options) {
  MoeBenchOptions bench = options.bench;
  absl::StatusOr<MoeBenchShape> shape = FindMoeBenchShape(options.shape);
  if (!shape.ok()) return Fail(shape.status());
  bench.shape = *shape;
  if (options.experts > 0) bench.shape.experts = options.experts;
  bench.activations = ParseExpertActivations(options.activations).value();  // checked by CLI
  const auto results = RunMoeBench(bench);
  if (!results.ok()) return Fail(results.status());
  for (const MoeBenchResult& result : *results)
    std::puts(options.json ? result.ToJson().c_str() : result.ToText().c_str());
  return 0;
}

}  // namespace

void AddBenchMoe(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo(
      "bench", "moe", "one layer of routed experts on cold weights against the roofline",
      "  tandem bench moe --shape k2.6 --tokens 1\n"
      "  tandem bench moe --shape k2.6 --tokens 1 8 64 512 2048 --json\n"
      "  tandem bench moe --shape k2.6 --tokens 64 --skew zipf:0.8 --threads 1");
  sub->add_option("--shape", options->shape, "k2.6, k2, moonlight or small")->capture_default_str();
  sub->add_option("--experts", options->experts, "experts per layer instead of the shape's");
  sub->add_option("--tokens", options->bench.tokens,
                  "tokens of one step; several numbers are measured one after the other")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  sub->add_option("--kernel", options->bench.kernel, "force a kernel, e.g. avx2");
  sub->add_option("--activations", options->activations, "int8, int8x2 or bf16")
      ->capture_default_str()
      ->check(CLI::IsMember(ExpertActivationsNames()));
  sub->add_option("--threads", options->bench.threads, "0: all physical cores");
  sub->add_option("--skew", options->bench.skew,
                  "how often experts are wanted: zipf:S, or a file of one number per expert");
  sub->add_option("--topology", options->bench.topology,
                  "pretend to be another machine, e.g. \"numa:2 core:1 pu:1\"");
  sub->add_option("--placement", options->bench.placement,
                  "of experts on several nodes: sharded, whole or replicated")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, ExpertHome>{{"sharded", ExpertHome::kSharded},
                                            {"whole", ExpertHome::kWhole},
                                            {"replicated", ExpertHome::kReplicated}}));
  sub->add_option("--runs", options->bench.runs, "0: about two seconds of runs");
  sub->add_option("--seed", options->bench.seed, "of weights and routing")->capture_default_str();
  sub->add_flag("--json", options->json, "one JSON object per number of tokens");
  commands.OnRun(sub, [options] { return BenchMoe(*options); });
}

}  // namespace tandem
