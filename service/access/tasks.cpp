#include "service/access/tasks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "service/access/gate.h"

namespace tandem {
namespace {

// Tasks that are remembered; beyond it, the ones longest without a request are forgotten.
constexpr size_t kMaxTasks = 4096;

std::string Describe(const TaskBudget& budget) {
  std::string text = absl::StrCat("agents=", budget.agents, ", steps=", budget.steps);
  if (budget.tokens > 0) absl::StrAppend(&text, ", tokens=", budget.tokens);
  return text;
}

// What a task may still use, as a sentence's part.
std::string Left(const TaskUsage& usage) {
  const TaskBudget& budget = usage.budget;
  std::string text =
      absl::StrCat("left: ", std::max(0, budget.agents - usage.agents), " new agents, ",
                   std::max(0, budget.steps - usage.steps), " steps");
  if (budget.tokens > 0)
    absl::StrAppend(&text, ", ", std::max<int64_t>(0, budget.tokens - usage.spent_tokens()),
                    " tokens");
  return text;
}

absl::Status OverBudget(const TaskUsage& usage, const std::string& what) {
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("task ", usage.task, " has used its ", what, " (", Left(usage), ")"));
  status.SetPayload(kErrorCodePayload, absl::Cord("task_budget_exceeded"));
  return status;
}

absl::Status Cancelled(const std::string& what) {
  return absl::AbortedError(absl::StrCat(what, " was cancelled; it takes no further requests"));
}

}  // namespace

void Tasks::Request::Cancel() {
  std::function<void()> what;
  {
    std::lock_guard lock(mutex);
    cancelled = true;
    what = std::exchange(cancel, nullptr);
  }
  if (what) what();
}

void Tasks::Request::OnCancel(std::function<void()> what) {
  {
    std::lock_guard lock(mutex);
    if (!cancelled) {
      cancel = std::move(what);
      return;
    }
  }
  what();
}

absl::StatusOr<std::shared_ptr<Tasks::Request>> Tasks::Enter(const std::string& owner,
                                                             const RequestTags& tags) {
  if (tags.task.empty()) return nullptr;
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(Task* const task, Find({owner, tags.task}, tags));
  TaskUsage& usage = task->usage;
  if (usage.steps >= usage.budget.steps)
    return OverBudget(usage, absl::StrCat(usage.budget.steps, " steps"));
  if (usage.budget.tokens > 0 && usage.spent_tokens() >= usage.budget.tokens)
    return OverBudget(usage, absl::StrCat(usage.budget.tokens, " tokens"));
  TANDEM_RETURN_IF_ERROR(AddAgent(*task, tags));
  ++usage.steps;
  ++usage.running;
  task->last_used = ++now_;
  auto request = std::make_shared<Request>();
  request->owner = owner;
  request->task = tags.task;
  request->agent = tags.agent;
  task->running.push_back(request);
  return request;
}

// REQUIRES: mutex_ is held. The task of this name; a new one, with its budget, if there is none.
absl::StatusOr<Tasks::Task*> Tasks::Find(const Key& key, const RequestTags& tags) {
  if (const auto found = tasks_.find(key); found != tasks_.end()) {
    Task& task = found->second;
    if (task.cancelled) return Cancelled(absl::StrCat("task ", tags.task));
    if (tags.budget && *tags.budget != task.usage.budget) {
      return absl::InvalidArgumentError(
          absl::StrCat("header tandem-budget is ", Describe(*tags.budget), "; expected ",
                       Describe(task.usage.budget), ", as task ", tags.task, " began with"));
    }
    return &task;
  }
  if (tasks_.size() >= kMaxTasks) ForgetOldest();
  Task& task = tasks_[key];
  task.usage.task = tags.task;
  task.usage.owner = key.first;
  task.usage.budget = tags.budget.value_or(TaskBudget{});
  return &task;
}

// REQUIRES: mutex_ is held.
absl::Status Tasks::AddAgent(Task& task, const RequestTags& tags) {
  TaskUsage& usage = task.usage;
  const auto found = task.agents.find(tags.agent);
  if (found != task.agents.end()) {
    if (found->second.cancelled) return Cancelled(absl::StrCat("agent ", tags.agent));
    if (!tags.parent.empty() && tags.parent != found->second.parent) {
      return absl::InvalidArgumentError(
          absl::StrCat("header tandem-parent is ", tags.parent, "; expected ",
                       found->second.parent.empty() ? "none" : found->second.parent, ", as agent ",
                       tags.agent, " began with"));
    }
    return absl::OkStatus();
  }
  const auto parent = task.agents.find(tags.parent);
  if (parent != task.agents.end() && parent->second.cancelled)
    return Cancelled(absl::StrCat("agent ", tags.parent));
  if (usage.agents >= usage.budget.agents)
    return OverBudget(usage, absl::StrCat(usage.budget.agents, " agents"));
  task.agents[tags.agent] = {tags.parent, false};
  ++usage.agents;
  return absl::OkStatus();
}

// REQUIRES: mutex_ is held.
void Tasks::ForgetOldest() {
  auto oldest = tasks_.end();
  for (auto entry = tasks_.begin(); entry != tasks_.end(); ++entry) {
    if (entry->second.usage.running > 0) continue;
    if (oldest == tasks_.end() || entry->second.last_used < oldest->second.last_used)
      oldest = entry;
  }
  if (oldest != tasks_.end()) tasks_.erase(oldest);
}

void Tasks::NoteUsage(const Request& request, const Usage& usage) {
  std::lock_guard lock(mutex_);
  TaskUsage& to = tasks_.at({request.owner, request.task}).usage;
  to.prompt_tokens += usage.prompt_tokens;
  to.cached_tokens += usage.cached_tokens;
  to.completion_tokens += usage.completion_tokens;
}

void Tasks::Leave(const std::shared_ptr<Request>& request) {
  std::lock_guard lock(mutex_);
  Task& task = tasks_.at({request->owner, request->task});
  task.running.remove(request);
  --task.usage.running;
}

// The agent and all that descend from it; for "", everybody.
std::set<std::string> Tasks::Below(const Task& task, const std::string& agent) {
  std::set<std::string> below;
  if (agent.empty()) {
    for (const auto& [name, unused] : task.agents) below.insert(name);
    return below;
  }
  below.insert(agent);
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& [name, entry] : task.agents)
      if (below.contains(entry.parent) && below.insert(name).second) grew = true;
  }
  return below;
}

void Tasks::CancelChildren(const Request& request) {
  if (request.agent.empty()) return;  // has no name, so nobody named it as a parent
  std::vector<std::shared_ptr<Request>> cancelled;
  {
    std::lock_guard lock(mutex_);
    const Task& task = tasks_.at({request.owner, request.task});
    const std::set<std::string> below = Below(task, request.agent);
    for (const auto& other : task.running)
      if (other->agent != request.agent && below.contains(other->agent)) cancelled.push_back(other);
  }
  for (const auto& other : cancelled) other->Cancel();
}

std::vector<TaskUsage> Tasks::List(const std::optional<std::string>& owner) const {
  std::lock_guard lock(mutex_);
  std::vector<TaskUsage> list;
  for (const auto& [key, task] : tasks_)
    if (!owner || key.first == *owner) list.push_back(task.usage);
  return list;
}

absl::StatusOr<int32_t> Tasks::Cancel(const std::optional<std::string>& owner,
                                      const std::string& task_name, const std::string& agent) {
  std::vector<std::shared_ptr<Request>> cancelled;
  bool found = false;
  {
    std::lock_guard lock(mutex_);
    for (auto& [key, task] : tasks_) {
      if (key.second != task_name || (owner && key.first != *owner)) continue;
      if (!agent.empty() && !task.agents.contains(agent)) continue;
      found = true;
      task.cancelled |= agent.empty();
      const std::set<std::string> below = Below(task, agent);
      for (const std::string& name : below) task.agents[name].cancelled = true;
      for (const auto& request : task.running)
        if (below.contains(request->agent)) cancelled.push_back(request);
    }
  }
  if (!found) {
    return absl::NotFoundError(
        agent.empty() ? absl::StrCat("there is no task ", task_name)
                      : absl::StrCat("there is no agent ", agent, " in a task ", task_name));
  }
  for (const auto& request : cancelled) request->Cancel();
  return static_cast<int32_t>(cancelled.size());
}

}  // namespace tandem
