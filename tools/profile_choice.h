// The options that choose a part of a profile, shared by `tandem profile show` and `export`.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "core/status.h"
#include "placement/expert_profile.h"

namespace tandem {

struct ProfileChoice {
  std::optional<std::string> label;  // --label; "" is that of requests without one
  std::string phase;                 // --phase

  void AddTo(CLI::App* sub);
  std::optional<Phase> ChosenPhase() const;
};

// Index of the chosen label in profile.labels; -1 if none was chosen. Error: NOT_FOUND naming the
// labels there are.
absl::StatusOr<int> ChosenLabel(const ProfileChoice& choice, const ExpertProfile& profile,
                                const std::string& path);

// Writes a whole file. Errors name path and reason.
absl::Status WriteTextFile(const std::string& path, const std::string& text);

}  // namespace tandem
