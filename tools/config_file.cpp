#include "tools/config_file.h"

#include <memory>
#include <string>
#include <vector>

namespace tandem {
namespace {

// A file without sections, all of it about one subcommand.
class FlatConfig : public CLI::ConfigTOML {
 public:
  explicit FlatConfig(const CLI::App& sub) : sub_(sub) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    std::vector<CLI::ConfigItem> items = CLI::ConfigTOML::from_config(input);
    for (CLI::ConfigItem& item : items) {
      if (!item.parents.empty() || !Knows(item.name))
        throw CLI::ConfigError("the configuration names " + item.fullname() +
                               ", which is no flag of " + sub_.get_name());
      item.parents = {sub_.get_name()};
    }
    return items;
  }

 private:
  bool Knows(const std::string& name) const {
    return sub_.get_option_no_throw("--" + name) != nullptr ||
           sub_.get_option_no_throw(name) != nullptr;
  }

  const CLI::App& sub_;
};

}  // namespace

// CLI11 reads such files for the program only, not for its subcommands; so the program has the
// flag, and the subcommand passes it on.
void TakeConfigFile(CLI::App* sub) {
  CLI::App* program = sub->get_parent();
  program->set_config("--config")->group("");
  program->config_formatter(std::make_shared<FlatConfig>(*sub));
  sub->fallthrough();
}

}  // namespace tandem
