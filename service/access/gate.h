// Whether a request that generates may come in now: open calls, its key's limits, its task's
// budget.
//
// Both front ends ask it, once for each such request, and tell it what the request cost. It also
// knows which requests of a task are under way, so that a subtree of agents can be cancelled.
// Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/access/api_keys.h"
#include "service/access/caller.h"
#include "service/access/task_usage.h"
#include "service/admission.h"

namespace tandem {

// Under this payload name an error carries, for APIs that have such codes, which limit it was:
// "rate_limit_exceeded" or "task_budget_exceeded".
inline constexpr char kErrorCodePayload[] = "tandem/error-code";

class Gate {
 public:
  // `admission` must outlive the gate.
  Gate(Admission& admission, const ApiKeys& keys);
  ~Gate();

  // A request on its way. Dropping it says that the request has ended.
  class Pass {
   public:
    virtual ~Pass() = default;
    // What is to be done when its agent, or one above it, is cancelled; any thread, at most once.
    virtual void OnCancel(std::function<void()> cancel) = 0;
    virtual void NoteUsage(const Usage& usage) = 0;  // once, for each of its choices
    // The client left before the end: those that its agent started are cancelled, too.
    virtual void NoteGone() = 0;
  };

  // Errors: RESOURCE_EXHAUSTED with kErrorCodePayload, when to come back (kRetryAfterMsPayload,
  // where waiting helps) and, for a budget, what is left of it in the message; UNAVAILABLE while
  // the server shuts down.
  absl::StatusOr<std::unique_ptr<Pass>> Enter(const Caller& caller, const RequestTags& tags);

  std::vector<TaskUsage> ListTasks(const Caller& caller) const;  // its own; an admin's: all
  // Ends an agent and those below it ("": the whole task): what is under way is cancelled, further
  // requests are refused. The number of those cancelled; NOT_FOUND.
  absl::StatusOr<int32_t> CancelTask(const Caller& caller, const std::string& task,
                                     const std::string& agent);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
