#include "tools/command.h"

#include <algorithm>
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
  if (!groups_.contains(group)) Group(group, "measure this machine and this build");
  return WithExamples(groups_[group]->add_subcommand(name, description), examples);
}

void Commands::Group(const std::string& name, const std::string& description,
                     const std::string& default_name) {
  CLI::App*& group = groups_[name];
  if (group == nullptr) group = app_.add_subcommand(name, description);
  group->description(description);
  group->require_subcommand(1);
  if (!default_name.empty()) defaults_[name] = default_name;
}

std::vector<std::string> Commands::Complete(int argc, const char* const* argv) const {
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  auto command = arguments.begin();
  while (command != arguments.end() &&
         command->starts_with("-")) {  // options of the program itself
    const CLI::Option* option = app_.get_option_no_throw(*command);
    const int64_t values = option != nullptr && option->get_type_size() > 0 ? 1 : 0;
    command += std::min<int64_t>(1 + values, arguments.end() - command);
  }
  if (arguments.end() - command < 2 || !defaults_.contains(*command)) return arguments;
  const std::string next = *(command + 1);
  const CLI::App& group = *groups_.at(*command);
  const auto named = [&](const CLI::App* sub) { return sub->get_name() == next; };
  if (next.starts_with("-") || !group.get_subcommands(named).empty()) return arguments;
  arguments.insert(command + 1, defaults_.at(*command));
  return arguments;
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
