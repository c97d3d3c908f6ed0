// The frame of `tandem`: one program, one file cmd_NAME.cpp per subcommand.
//
//   void AddTokenize(Commands& commands) {
//     auto options = std::make_shared<Options>();
//     CLI::App* sub = commands.Add("tokenize", "text or chat messages -> ids", "  tandem tokenize
//     ..."); sub->add_option("model", options->model)->required(); commands.OnRun(sub, [options] {
//     return Tokenize(*options); });   // returns the exit code
//   }
//
// Exit codes: 0 done, 1 the world failed, 2 wrong usage. Use Fail() for the second.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

class Commands {
 public:
  explicit Commands(CLI::App& app) : app_(app) {}

  // `examples` is shown under --help, one command line each.
  CLI::App* Add(const std::string& name, const std::string& description,
                const std::string& examples);
  // A group such as `tandem bench`. With `default_name`, what stands behind the group's name and
  // is no subcommand of it belongs to that one: `profile MODEL` means `profile record MODEL`.
  void Group(const std::string& name, const std::string& description,
             const std::string& default_name = "");
  // A subcommand of a group, which is created at the first call if Group() has not.
  CLI::App* AddTo(const std::string& group, const std::string& name, const std::string& description,
                  const std::string& examples);
  void OnRun(CLI::App* sub, std::function<int()> run);
  // The arguments of main() without the program, with the name of a group's default put in.
  std::vector<std::string> Complete(int argc, const char* const* argv) const;
  // Runs what the command line chose.
  int Run() const;

 private:
  CLI::App& app_;
  std::map<std::string, CLI::App*> groups_;
  std::map<std::string, std::string> defaults_;  // of groups
  std::function<int()> chosen_;
};

// Prints "tandem: error: MESSAGE" on stderr; returns 1.
int Fail(const absl::Status& status);

// One per cmd_NAME.cpp, in the order of --help; main.cpp lists those that are built.
void AddServe(Commands& commands);
void AddKeys(Commands& commands);
void AddChat(Commands& commands);
void AddBatch(Commands& commands);
void AddBatchMerge(Commands& commands);
void AddScore(Commands& commands);
void AddTokenize(Commands& commands);
void AddDoctor(Commands& commands);
void AddPack(Commands& commands);
void AddPlan(Commands& commands);
void AddSynth(Commands& commands);
void AddProfileRecord(Commands& commands);
void AddProfileMerge(Commands& commands);
void AddProfileDiff(Commands& commands);
void AddSimulate(Commands& commands);
void AddBenchE2e(Commands& commands);
void AddBenchMoe(Commands& commands);
void AddBenchHandoff(Commands& commands);
void AddBenchRoofline(Commands& commands);
void AddProfileShow(Commands& commands);
void AddProfileExport(Commands& commands);

}  // namespace tandem
