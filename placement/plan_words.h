// A plan's sentences. Private to the planner.
#pragma once

#include <string>
#include <vector>

#include "placement/plan_draft.h"

namespace tandem {

// "12,345 tokens of 2 labels (code, prose), 3,000 of them held out"
std::string ProfileText(const ExpertProfile& profile);
// What was left out and why, what limits, what to mind. `plan` is complete but for its notes.
std::vector<std::string> NotesOf(const PlannerInput& input, const PlanDraft& draft,
                                 const Plan& plan);

// 65536 -> "65,536"
std::string Grouped(int64_t n);

}  // namespace tandem
