// A profile's counts for other programs. docs/placement.md describes both formats.
#pragma once

#include <optional>
#include <string>

#include "placement/expert_profile.h"

namespace tandem {

struct ExportOptions {
  int label = -1;              // index of the profile's: only this one
  std::optional<Phase> phase;  // only this one
};

// Header and one line per layer, expert, label, phase and split: layer,expert,label,phase,split,
// hits,mass. Layers are the model's (the first MoE layer is number dense_layers). Combinations
// of label, phase and split without tokens are left out; experts without hits are there. Labels are
// quoted as RFC 4180 wants it.
std::string ProfileCsv(const ExpertProfile& profile, const ExportOptions& options = {});

// {"logical_count": [layers][experts], ...}: how many tokens each logical expert got, training and
// held-out requests together; dense layers are rows of zeros, as load balancers count all layers.
std::string ProfileEplbJson(const ExpertProfile& profile, const ExportOptions& options = {});

}  // namespace tandem
