// `tandem`: serve, chat, batch, score, tokenize, doctor, synth, bench.
#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "core/bus_errors.h"
#include "core/log.h"
#include "tools/command.h"

namespace {

bool HasSubcommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* sub : app.get_subcommands(nullptr))
    if (sub->get_name() == name) return true;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Tandem serves mixture-of-experts models from one workstation.", "tandem"};
  app.require_subcommand(1);
  app.set_version_flag("--version", TANDEM_VERSION);
  app.get_formatter()->column_width(36);
  std::string log_level = "info";
  app.add_option("--log-level", log_level, "debug, info, warn, error or off")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));

  tandem::Commands commands(app);
  tandem::AddServe(commands);
  tandem::AddKeys(commands);
  tandem::AddChat(commands);
  tandem::AddBatch(commands);
  tandem::AddBatchMerge(commands);
  tandem::AddScore(commands);
  tandem::AddTokenize(commands);
  tandem::AddPack(commands);
  tandem::AddPlan(commands);
  tandem::AddSynth(commands);
  tandem::AddProfileRecord(commands);
  tandem::AddProfileMerge(commands);
  tandem::AddProfileDiff(commands);
  tandem::AddSimulate(commands);
  tandem::AddDoctor(commands);
  tandem::AddBenchE2e(commands);
  tandem::AddBenchMoe(commands);
  tandem::AddBenchHandoff(commands);
  tandem::AddBenchRoofline(commands);
  tandem::AddProfileShow(commands);
  tandem::AddProfileExport(commands);

  if (argc > 1 && argv[1][0] != '-' && !HasSubcommand(app, argv[1])) {
    std::fprintf(stderr, "tandem: unknown command '%s'; see tandem --help\n", argv[1]);
    return 2;
  }
  std::vector<std::string> arguments = commands.Complete(argc, argv);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return 2;
  }
  tandem::InitLogging(log_level);
  tandem::ExplainBusErrors();
  return commands.Run();
}
