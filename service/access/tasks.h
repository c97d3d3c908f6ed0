// Tasks that many agents work on: who started whom, what has been used of the budget, which
// requests are under way. Thread-safe.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/access/caller.h"
#include "service/access/task_usage.h"

namespace tandem {

class Tasks {
 public:
  // A request under way. Shared with whoever may cancel it.
  struct Request {
    std::string owner, task, agent;
    std::mutex mutex;
    bool cancelled = false;
    std::function<void()> cancel;  // set by the request; taken when it is called

    void Cancel();
    void OnCancel(std::function<void()> what);
  };

  // Counts a step of the task; nullptr for a request of no task. Errors: RESOURCE_EXHAUSTED with
  // what is left of the budget; INVALID_ARGUMENT for a budget or a parent other than the task's or
  // the agent's first; ABORTED for an agent that was cancelled.
  absl::StatusOr<std::shared_ptr<Request>> Enter(const std::string& owner, const RequestTags& tags);
  void NoteUsage(const Request& request, const Usage& usage);
  // The request's end.
  void Leave(const std::shared_ptr<Request>& request);
  // Cancels what is under way below the request's agent.
  void CancelChildren(const Request& request);

  // `owner` nullopt: everybody's.
  std::vector<TaskUsage> List(const std::optional<std::string>& owner) const;
  // Ends an agent and those below it for good ("": the task). The requests that were cancelled;
  // NOT_FOUND.
  absl::StatusOr<int32_t> Cancel(const std::optional<std::string>& owner, const std::string& task,
                                 const std::string& agent);

 private:
  struct Agent {
    std::string parent;
    bool cancelled = false;
  };
  struct Task {
    TaskUsage usage;
    std::map<std::string, Agent> agents;
    std::list<std::shared_ptr<Request>> running;
    uint64_t last_used = 0;
    bool cancelled = false;
  };
  using Key = std::pair<std::string, std::string>;  // owner, task

  absl::StatusOr<Task*> Find(const Key& key, const RequestTags& tags);
  absl::Status AddAgent(Task& task, const RequestTags& tags);
  void ForgetOldest();
  static std::set<std::string> Below(const Task& task, const std::string& agent);

  mutable std::mutex mutex_;
  std::map<Key, Task> tasks_;
  uint64_t now_ = 0;  // counts requests
};

}  // namespace tandem
