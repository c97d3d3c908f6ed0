#include "tools/command.h"

#include <cstdio>

namespace tandem {
namespace {

CLI::App* WithExamples(CLI::App* sub, const std::string& examples) {
  if (!examples.empty()) sub->footer("Examples:\n" + examples);
  return sub;
}

}  // namespace

CLI::App* Commands::Add(const std::string& name, const std::string& description,
                        const std::string& examples) {
  return WithExamples(app_.add_subcommand(name, description), examples);
}

CLI::App* Commands::AddTo(const std::string& group, const std::string& name,
                          const std::string& description, const std::string& examples) {
  CLI::App*& parent = groups_[group];
  if (parent == nullptr) {
    parent = app_.add_subcommand(group, "measure this machine and this build");
    parent->require_subcommand(1);
  }
  return WithExamples(parent->add_subcommand(name, description), examples);
}

void Commands::OnRun(CLI::App* sub, std::function<int()> run) {
  sub->callback([this, run = std::move(run)] { chosen_ = run; });
}

int Commands::Run() const { return chosen_ ? chosen_() : 2; }

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "tandem: error: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace tandem
