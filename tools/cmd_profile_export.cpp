// `tandem profile export`: a profile's counts for other programs.
#include <cstdio>
#include <memory>

#include "placement/profile_export.h"
#include "placement/profile_file.h"
#include "tools/command.h"
#include "tools/profile_choice.h"

namespace tandem {
namespace {

struct Options {
  std::string profile;
  ProfileChoice choice;
  std::string csv, eplb;
};

absl::Status WriteAndTell(const std::string& path, const std::string& text) {
  TANDEM_RETURN_IF_ERROR(WriteTextFile(path, text));
  std::printf("wrote %s (%zu bytes)\n", path.c_str(), text.size());
  return absl::OkStatus();
}

absl::Status Export(const Options& options) {
  TANDEM_ASSIGN_OR_RETURN(const ExpertProfile profile, ReadProfile(options.profile));
  TANDEM_ASSIGN_OR_RETURN(const int label, ChosenLabel(options.choice, profile, options.profile));
  const std::optional<Phase> phase = options.choice.ChosenPhase();
  if (!options.csv.empty())
    TANDEM_RETURN_IF_ERROR(
        WriteAndTell(options.csv, ProfileCsv(profile, {.label = label, .phase = phase})));
  if (!options.eplb.empty())
    TANDEM_RETURN_IF_ERROR(
        WriteAndTell(options.eplb, ProfileEplbJson(profile, {.label = label, .phase = phase})));
  return absl::OkStatus();
}

int Run(const Options& options) {
  if (options.csv.empty() && options.eplb.empty()) {
    std::fprintf(stderr, "tandem: profile export needs --csv FILE, --eplb FILE or both\n");
    return 2;
  }
  const absl::Status done = Export(options);
  return done.ok() ? 0 : Fail(done);
}

}  // namespace

void AddProfileExport(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo(
      "profile", "export", "a profile's counts as CSV, or as the loads that EPLB balancers read",
      "  tandem profile export all.profile --csv counts.csv\n"
      "  tandem profile export all.profile --phase decode --eplb loads.json");
  sub->add_option("profile", options->profile)->required();
  options->choice.AddTo(sub);
  sub->add_option("--csv", options->csv, "layer,expert,label,phase,split,hits,mass");
  sub->add_option("--eplb", options->eplb, "{\"logical_count\": [layers][experts]}");
  commands.OnRun(sub, [options] { return Run(*options); });
}

}  // namespace tandem
