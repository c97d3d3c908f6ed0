// How far a task of many agents has come.
#pragma once

#include <cstdint>
#include <string>

#include "service/access/caller.h"

namespace tandem {

struct TaskUsage {
  std::string task, owner;  // owner: the key's name
  TaskBudget budget;
  int32_t agents = 0, steps = 0, running = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;

  // What counts against TaskBudget::tokens.
  int64_t spent_tokens() const { return prompt_tokens - cached_tokens + completion_tokens; }
};

}  // namespace tandem
