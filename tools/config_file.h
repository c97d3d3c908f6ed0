// A command's flags from a file.
#pragma once

#include <CLI/CLI.hpp>

namespace tandem {

// Lets a subcommand (one of the program only) take --config FILE: TOML without sections, whose keys
// are names of the command's flags and positional arguments. What stands on the command line goes
// before the file; unknown keys, and keys given twice, are errors.
void TakeConfigFile(CLI::App* sub);

}  // namespace tandem
