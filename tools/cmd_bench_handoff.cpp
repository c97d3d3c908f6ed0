#include <cstdio>
#include <memory>

#include "bench/handoff.h"
#include "tools/command.h"

namespace tandem {
namespace {

struct Options {
  HandoffOptions handoff;
  bool json = false;
};

int BenchHandoff(const Options& options) {
  const absl::StatusOr<HandoffResult> result = MeasureHandoff(options.handoff);
  if (!result.ok()) return Fail(result.status());
  std::fputs(options.json ? (result->ToJson() + "\n").c_str() : result->ToText().c_str(), stdout);
  return 0;
}

}  // namespace

void AddBenchHandoff(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo(
      "bench", "handoff", "what handing a layer to the worker team costs, beside the layer itself",
      "  tandem bench handoff\n"
      "  tandem bench handoff --threads 2 --no-layer --json");
  sub->add_option("--threads", options->handoff.threads, "0: all physical cores");
  sub->add_flag("!--no-layer", options->handoff.layer, "do not time a real layer");
  sub->add_flag("--json", options->json, "one JSON object");
  commands.OnRun(sub, [options] { return BenchHandoff(*options); });
}

}  // namespace tandem
