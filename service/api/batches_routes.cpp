#include "service/api/batches_routes.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "service/api/batch_json.h"
#include "service/api/error_status.h"
#include "service/api/json_fields.h"
#include "service/api/request_parts.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kDefaultListed = 20, kMaxListed = 100;

absl::StatusOr<NewBatch> ParseBatch(const Json& body) {
  JsonFields fields(body, "");
  NewBatch batch = {.input_file = fields.Text("input_file_id"),
                    .endpoint = fields.Text("endpoint"),
                    .window = fields.Text("completion_window"),
                    .metadata = "null"};
  if (const Json* metadata = fields.OptionalObject("metadata")) batch.metadata = metadata->dump();
  batch.window_s = ParseWindow(batch.window);
  if (batch.window_s == 0)
    fields.Fail("completion_window", "a whole number of s, m, h or d, such as \"24h\"");
  fields.Refuse("output_expires_after", "results are kept as long as the server says");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  return batch;
}

absl::StatusOr<HttpResponse> Create(const Limits& limits, BatchQueue& batches,
                                    const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(const Json body, ParseBody(request, limits));
  TANDEM_ASSIGN_OR_RETURN(const NewBatch batch, ParseBatch(body));
  TANDEM_ASSIGN_OR_RETURN(const BatchView view, batches.Create(request.caller, batch));
  return JsonResponse(ToJson(view));
}

absl::StatusOr<HttpResponse> List(BatchQueue& batches, const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(const PageArgs args,
                          ParsePage(request.query, kDefaultListed, kMaxListed));
  const auto all = request.query.find("all");
  const bool wants_all = all != request.query.end() && all->second == "true";
  if (wants_all && !request.caller.admin)
    return absl::PermissionDeniedError("all=true needs an admin's key");
  TANDEM_ASSIGN_OR_RETURN(const auto page, batches.List(request.caller, wants_all, args));
  Json data = Json::array();
  for (const BatchView& view : page.records) data.push_back(ToJson(view));
  return JsonResponse(ListJson(std::move(data), page.has_more));
}

absl::StatusOr<HttpResponse> ViewResponse(const absl::StatusOr<BatchView>& view) {
  TANDEM_RETURN_IF_ERROR(view.status());
  return JsonResponse(ToJson(*view));
}

absl::StatusOr<HttpResponse> Get(BatchQueue& batches, const HttpRequest& request) {
  return ViewResponse(batches.Get(request.caller, request.path_tail));
}
absl::StatusOr<HttpResponse> Cancel(BatchQueue& batches, const HttpRequest& request) {
  return ViewResponse(batches.Cancel(request.caller, request.path_tail));
}
absl::StatusOr<HttpResponse> Pause(BatchQueue& batches, const HttpRequest& request) {
  return ViewResponse(batches.SetPaused(request.caller, request.path_tail, true));
}
absl::StatusOr<HttpResponse> Resume(BatchQueue& batches, const HttpRequest& request) {
  return ViewResponse(batches.SetPaused(request.caller, request.path_tail, false));
}

absl::StatusOr<HttpResponse> Delete(BatchQueue& batches, const HttpRequest& request) {
  TANDEM_RETURN_IF_ERROR(batches.Delete(request.caller, request.path_tail));
  return JsonResponse({{"id", request.path_tail}, {"object", "batch"}, {"deleted", true}});
}

BatchAnswer PauseAll(bool paused) {
  return [paused](BatchQueue& batches, const HttpRequest&) -> absl::StatusOr<HttpResponse> {
    TANDEM_RETURN_IF_ERROR(batches.SetAllPaused(paused));
    return JsonResponse({{"paused", paused}});
  };
}

}  // namespace

void AddBatchesRoutes(RouteTable& routes, const Limits& limits, BatchQueue* batches) {
  const auto add = [&](const char* method, const char* path, BatchAnswer answer,
                       Access access = Access::kKey) {
    Route route = BatchRoute(method, path, batches, std::move(answer));
    route.access = access;
    routes.Add(std::move(route));
  };
  add("POST", "/v1/batches", [&limits](BatchQueue& queue, const HttpRequest& request) {
    return Create(limits, queue, request);
  });
  add("GET", "/v1/batches", List);
  add("GET", "/v1/batches/*", Get);
  add("DELETE", "/v1/batches/*", Delete);
  add("POST", "/v1/batches/*/cancel", Cancel);
  add("POST", "/v1/batches/*/pause", Pause);
  add("POST", "/v1/batches/*/resume", Resume);
  add("POST", "/api/batches/pause", PauseAll(true), Access::kAdmin);
  add("POST", "/api/batches/resume", PauseAll(false), Access::kAdmin);
}

}  // namespace tandem
