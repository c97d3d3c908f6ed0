#include <cstdio>
#include <memory>

#include "bench/roofline.h"
#include "tools/command.h"

namespace tandem {
namespace {

struct Options {
  int threads = 0;
  bool json = false;
};

int BenchRoofline(const Options& options) {
  WorkerTeam team({.workers = options.threads});
  const absl::StatusOr<Roofline> roofline = MeasureRoofline(team);
  if (!roofline.ok()) return Fail(roofline.status());
  std::puts(options.json ? roofline->ToJson().c_str() : roofline->ToText().c_str());
  return 0;
}

}  // namespace

void AddBenchRoofline(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo("bench", "roofline",
                                 "what this machine can do: read bandwidth, INT8 and FMA peaks",
                                 "  tandem bench roofline --json");
  sub->add_option("--threads", options->threads, "0: all physical cores");
  sub->add_flag("--json", options->json, "one JSON object");
  commands.OnRun(sub, [options] { return BenchRoofline(*options); });
}

}  // namespace tandem
