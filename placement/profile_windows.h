// The windows of a profile (expert_profile.h): how they are kept to a number.
#pragma once

#include <vector>

#include "placement/expert_profile.h"

namespace tandem {

// Windows 0 and 1 become one, 2 and 3, and so on; a last one without a partner stays.
void MergeNeighbours(std::vector<ProfileWindow>& windows);

}  // namespace tandem
