// tandem pack: a checkpoint as a packed image, from which a start takes seconds.
#include <cstdio>
#include <memory>

#include "core/worker_team.h"
#include "engine/checkpoint/pack.h"
#include "tools/command.h"

namespace tandem {
namespace {

struct Options {
  PackOptions pack;
  std::string verify;
  int threads = 0;
  bool quiet = false;
};

int Verify(const Options& options, WorkerTeam& team) {
  absl::Status status;
  {
    ProgressPrinter printer("checking");
    status = VerifyImage(options.verify, team, options.quiet ? ProgressFn() : printer.Fn());
  }
  if (!status.ok()) return Fail(status);
  std::printf("%s: every weight is as it was written\n", options.verify.c_str());
  return 0;
}

int Pack(const Options& options, WorkerTeam& team) {
  absl::StatusOr<PackReport> report;
  {
    ProgressPrinter printer("packing");
    report = PackModel(options.pack, team, options.quiet ? ProgressFn() : printer.Fn());
  }
  if (!report.ok()) return Fail(report.status());
  const char* out = options.pack.out_dir.c_str();
  if (report->was_complete) {
    std::printf("%s is complete already; nothing to do\n", out);
    return 0;
  }
  std::printf("%s is complete: %s of experts", out, BytesText(report->expert_bytes).c_str());
  if (report->kept_bytes > 0)
    std::printf(", %s of them from an earlier run", BytesText(report->kept_bytes).c_str());
  std::printf("; try: tandem serve %s\n", out);
  return 0;
}

int Run(const Options& options) {
  WorkerTeam team({.workers = options.threads});
  return options.verify.empty() ? Pack(options, team) : Verify(options, team);
}

}  // namespace

void AddPack(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.Add(
      "pack", "write a checkpoint in the form that a start needs: no packing, no conversion",
      "  tandem pack /models/Kimi-K2.6 /models/Kimi-K2.6-packed\n"
      "  tandem pack /models/Kimi-K2.6 /models/Kimi-K2.6-packed --shards 2   # two NUMA nodes\n"
      "  tandem pack --verify /models/Kimi-K2.6-packed\n"
      "A run that was stopped goes on where it was when it is started again.");
  auto* verify = sub->add_option("--verify", options->verify,
                                 "read an image and hold every weight against its checksum")
                     ->type_name("IMAGE");
  auto* model =
      sub->add_option("model", options->pack.model_dir, "checkpoint folder, or a packed image")
          ->type_name("MODEL")
          ->excludes(verify);
  auto* out = sub->add_option("out", options->pack.out_dir,
                              "folder to write: a whole model; the original may go afterwards")
                  ->type_name("OUT");
  sub->add_option("--shards", options->pack.shards,
                  "parts per expert; as many as this machine has NUMA nodes can be mapped")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  sub->add_option("--threads", options->threads, "default: one per physical core")
      ->check(CLI::Range(0, 4096));
  sub->add_flag("-q,--quiet", options->quiet, "no progress output");
  sub->parse_complete_callback([=] {
    if (verify->count() == 0 && (model->count() == 0 || out->count() == 0))
      throw CLI::RequiredError("MODEL and OUT (or --verify IMAGE)");
  });
  commands.OnRun(sub, [options] { return Run(*options); });
}

}  // namespace tandem
