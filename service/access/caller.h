// Who sends a request, and what it says about itself in headers (HTTP) or metadata (gRPC) of the
// same names, whatever the API:
//
//   Tandem-Priority: interactive | normal | batch      default normal
//   Tandem-Label: NAME                                 what expert profiles count it under
//   Tandem-Deadline-Ms: N                              from its arrival on
//   Tandem-Task: ID                                    the task, of many agents, that it belongs to
//   Tandem-Agent: ID                                   which of them; default: one unnamed
//   Tandem-Parent: ID                                  the agent that started this one
//   Tandem-Budget: agents=300, steps=4000, tokens=N    of the task; each may be left out
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"
#include "engine/engine.h"

namespace tandem {

struct Caller {
  std::string name;    // of the key; "" without keys
  bool admin = false;  // may look at and change what is not its own; everybody, without keys
};

struct TaskBudget {
  int32_t agents = 300;
  int32_t steps = 4000;  // requests
  int64_t tokens = 0;    // prompt (without those from the cache) and answers; 0: no limit

  bool operator==(const TaskBudget&) const = default;
};

struct RequestTags {
  Priority priority = Priority::kNormal;
  std::string label;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  std::string task, agent, parent;  // "" if there is none
  std::optional<TaskBudget> budget;
};

// `header` gives the value of a header by its name in lower case, nullopt if it is not there.
// Errors: INVALID_ARGUMENT naming header, value and what is accepted. Ids and labels: 1 to 64
// bytes of letters, digits and "._:/@-".
absl::StatusOr<RequestTags> ParseRequestTags(
    const std::function<std::optional<std::string>(std::string_view)>& header);

}  // namespace tandem
