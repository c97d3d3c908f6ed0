#include "tools/command.h"
namespace tandem {
void AddDoctor(Commands& commands) {
  CLI::App* sub = commands.Add("doctor", "what this machine is, and whether MODEL will run on it",
                               "  tandem doctor\n  tandem doctor /models/kimi-k2.6");
  commands.OnRun(sub, [] { return 0; });
}
}  // namespace tandem
