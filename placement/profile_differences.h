// How differently labels use the experts (profile_report.h shows it).
#pragma once

#include <vector>

#include "placement/profile_report.h"

namespace tandem {

// Phases together. `labels` are indices of profile.labels.
LabelDifferences CompareLabels(const ExpertProfile& profile, const std::vector<int>& labels);

}  // namespace tandem
