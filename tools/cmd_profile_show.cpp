// `tandem profile show`: what a profile says, on the terminal, as JSON or as a page.
#include <cstdio>
#include <memory>

#include "placement/profile_file.h"
#include "placement/profile_page.h"
#include "placement/profile_report.h"
#include "tools/command.h"
#include "tools/profile_choice.h"
#include "tools/terminal_text.h"

namespace tandem {
namespace {

struct Options {
  std::string profile;
  ProfileChoice choice;
  std::string html;
  bool json = false;
};

int ShowPage(const ExpertProfile& profile, const Options& options) {
  const absl::Status written = WriteTextFile(options.html, ProfilePage(profile, options.profile));
  if (!written.ok()) return Fail(written);
  std::printf("wrote %s\n", options.html.c_str());
  return 0;
}

int Show(const Options& options) {
  const absl::StatusOr<ExpertProfile> profile = ReadProfile(options.profile);
  if (!profile.ok()) return Fail(profile.status());
  if (!options.html.empty()) return ShowPage(*profile, options);
  const absl::StatusOr<int> label = ChosenLabel(options.choice, *profile, options.profile);
  if (!label.ok()) return Fail(label.status());
  const ProfileReport report =
      MakeProfileReport(*profile, {.label = *label, .phase = options.choice.ChosenPhase()});
  std::fputs(
      options.json ? (ReportJson(report) + "\n").c_str() : ForTerminal(ReportText(report)).c_str(),
      stdout);
  return 0;
}

}  // namespace

void AddProfileShow(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo(
      "profile", "show", "what a profile says: skew, held-out hit rates, reuse, drift, labels",
      "  tandem profile show code.profile\n"
      "  tandem profile show all.profile --label code --phase decode --json\n"
      "  tandem profile show all.profile --html report.html");
  sub->add_option("profile", options->profile)->required();
  options->choice.AddTo(sub);
  CLI::Option* json = sub->add_flag("--json", options->json, "one JSON object");
  CLI::Option* html =
      sub->add_option("--html", options->html, "write one self-contained page, of all labels");
  for (CLI::Option* other : {json, sub->get_option("--label"), sub->get_option("--phase")})
    html->excludes(other);
  commands.OnRun(sub, [options] { return Show(*options); });
}

}  // namespace tandem
