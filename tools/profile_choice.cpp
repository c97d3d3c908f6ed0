#include "tools/profile_choice.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "placement/profile_report.h"

namespace tandem {

void ProfileChoice::AddTo(CLI::App* sub) {
  sub->add_option("--label", label, "only requests with this label; \"\" for those without one");
  sub->add_option("--phase", phase, "only prefill or decode")
      ->check(CLI::IsMember({"prefill", "decode"}));
}

std::optional<Phase> ProfileChoice::ChosenPhase() const {
  if (phase.empty()) return std::nullopt;
  return phase == "prefill" ? Phase::kPrefill : Phase::kDecode;
}

absl::StatusOr<int> ChosenLabel(const ProfileChoice& choice, const ExpertProfile& profile,
                                const std::string& path) {
  if (!choice.label) return -1;
  std::string there;
  for (size_t i = 0; i < profile.labels.size(); ++i) {
    if (profile.labels[i].name == *choice.label) return static_cast<int>(i);
    absl::StrAppend(&there, there.empty() ? "" : ", ", ShownLabel(profile.labels[i].name));
  }
  return absl::NotFoundError(absl::StrCat("profile ", path, " has no label \"", *choice.label,
                                          "\"; it has ", there.empty() ? "none" : there));
}

absl::Status WriteTextFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (file.flush()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

}  // namespace tandem
