// Which request of a batch is run when. Pure functions.
//
// Requests that begin alike come one after another, so that the prefix cache holds what they share
// while it is needed; groups within groups, by the first 256, 1024, 4096, 16384 bytes. Of groups,
// and within the innermost ones, the one with the largest request goes first: what would take
// longest does not begin when all others are done.
#pragma once

#include <cstdint>
#include <vector>

#include "service/batch/job_file.h"

namespace tandem {

// What an answer without a limit is taken to be of.
inline constexpr int64_t kUnsaidTokens = 512;

// About how long a request takes, in prompt tokens; 1 at least.
int64_t WorkOf(const JobItem& item);

// About; some four bytes are a token.
int64_t PromptTokensOf(const JobItem& item);

// The same places of `items`, in the order in which they are best run.
std::vector<uint32_t> ChooseOrder(const std::vector<JobItem>& items, std::vector<uint32_t> places);

}  // namespace tandem
