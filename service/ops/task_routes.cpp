#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/error_status.h"
#include "service/bounded_json.h"
#include "service/limits.h"
#include "service/ops/ops_routes.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxBodyBytes = 4096;

ordered_json ToJson(const TaskUsage& task) {
  return {{"task", task.task},
          {"owner", task.owner},
          {"budget",
           {{"agents", task.budget.agents},
            {"steps", task.budget.steps},
            {"tokens", task.budget.tokens}}},
          {"agents", task.agents},
          {"steps", task.steps},
          {"running", task.running},
          {"prompt_tokens", task.prompt_tokens},
          {"cached_tokens", task.cached_tokens},
          {"completion_tokens", task.completion_tokens}};
}

HttpResponse Json(const ordered_json& body) { return {.body = body.dump()}; }

HttpResponse OneTask(const Gate& gate, const HttpRequest& request) {
  ordered_json found = ordered_json::array();  // an admin sees tasks of one name of several keys
  for (const TaskUsage& task : gate.ListTasks(request.caller))
    if (task.task == request.path_tail) found.push_back(ToJson(task));
  if (found.empty()) return ToOpenAiError(absl::NotFoundError("there is no such task"));
  return Json(found.size() == 1 ? found[0] : ordered_json{{"tasks", found}});
}

absl::StatusOr<std::string> AgentOf(const HttpRequest& request) {
  if (request.body.empty()) return "";
  const auto body = ParseBoundedJson(request.body, Limits(), kMaxBodyBytes);
  if (!body.ok())
    return absl::InvalidArgumentError(absl::StrCat("the body ", body.status().message()));
  if (!body->is_object()) return absl::InvalidArgumentError("the body is not an object");
  std::string agent;
  for (const auto& [key, value] : body->items()) {
    if (key != "agent" || !value.is_string())
      return absl::InvalidArgumentError(absl::StrCat("body: expected {\"agent\": \"ID\"}"));
    agent = value.get<std::string>();
  }
  return agent;
}

HttpResponse Cancel(Gate& gate, const HttpRequest& request) {
  const auto agent = AgentOf(request);
  if (!agent.ok()) return ToOpenAiError(agent.status());
  const auto cancelled = gate.CancelTask(request.caller, request.path_tail, *agent);
  if (!cancelled.ok()) return ToOpenAiError(cancelled.status());
  return Json({{"cancelled_requests", *cancelled}});
}

void AddAnswer(RouteTable& table, std::string method, std::string path,
               std::function<HttpResponse(const HttpRequest&)> answer) {
  table.Add(
      {.method = std::move(method),
       .path = std::move(path),
       .access = Access::kKey,
       .handler = [answer = std::move(answer)](
                      const HttpRequest& request,
                      std::shared_ptr<Exchange> exchange) { exchange->Send(answer(request)); },
       .write_error = ToOpenAiError});
}

}  // namespace

void AddTaskRoutes(RouteTable& table, Gate& gate) {
  AddAnswer(table, "GET", "/api/tasks", [&gate](const HttpRequest& request) {
    ordered_json tasks = ordered_json::array();
    for (const TaskUsage& task : gate.ListTasks(request.caller)) tasks.push_back(ToJson(task));
    return Json({{"tasks", tasks}});
  });
  AddAnswer(table, "GET", "/api/tasks/*",
            [&gate](const HttpRequest& request) { return OneTask(gate, request); });
  AddAnswer(table, "POST", "/api/task_cancel/*",
            [&gate](const HttpRequest& request) { return Cancel(gate, request); });
}

}  // namespace tandem
