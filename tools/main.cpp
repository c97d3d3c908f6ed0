// `tandem`: serve, chat, score, tokenize, doctor, synth, bench.
#include "core/log.h"
#include "tools/command.h"

int main(int argc, char** argv) {
  CLI::App app{"Tandem serves mixture-of-experts models from one workstation.", "tandem"};
  app.require_subcommand(1);
  app.set_version_flag("--version", TANDEM_VERSION);
  app.get_formatter()->column_width(36);
  std::string log_level = "info";
  app.add_option("--log-level", log_level, "debug, info, warn, error or off")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));

  tandem::Commands commands(app);
  tandem::AddDoctor(commands);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return 2;
  }
  tandem::InitLogging(log_level);
  return commands.Run();
}
