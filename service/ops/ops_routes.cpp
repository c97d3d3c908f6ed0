#include "service/ops/ops_routes.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "service/api/error_status.h"
#include "service/ops/page_files.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

using Answer = std::function<HttpResponse(const HttpRequest&)>;

void AddGet(RouteTable& table, std::string path, Access access, Answer answer) {
  table.Add(
      {.method = "GET",
       .path = std::move(path),
       .access = access,
       .handler = [answer = std::move(answer)](
                      const HttpRequest& request,
                      std::shared_ptr<Exchange> exchange) { exchange->Send(answer(request)); },
       .write_error = ToOpenAiError});
}

HttpResponse Json(const ordered_json& body, int status = 200) {
  return {.status = status,
          .body = body.dump(-1, ' ', false, ordered_json::error_handler_t::replace),
          .headers = {{"Cache-Control", "no-store"}}};
}

HttpResponse Look(LiveView& live, const HttpRequest& request) {
  const auto asked = request.query.find("heat");
  const std::string heat = asked == request.query.end() ? "decode" : asked->second;
  if (heat == "none") return Json(live.Look(std::nullopt));
  if (heat == "decode") return Json(live.Look(Phase::kDecode));
  if (heat == "prefill") return Json(live.Look(Phase::kPrefill));
  return ToOpenAiError(
      absl::InvalidArgumentError("heat: expected decode, prefill or none, found another word"));
}

}  // namespace

void AddOpsRoutes(RouteTable& table, const OpsContext& context) {
  AddPageFiles(table);
  AddGet(table, "/health", Access::kOpen, [serving = context.serving](const HttpRequest&) {
    return serving() ? Json({{"status", "ok"}}) : Json({{"status", "draining"}}, 503);
  });
  AddGet(table, "/version", Access::kKey, [&metrics = context.metrics](const HttpRequest&) {
    return Json({{"name", "tandem"},
                 {"version", metrics.about().version},
                 {"model", metrics.about().model}});
  });
  AddGet(table, "/metrics", Access::kKey, [&metrics = context.metrics](const HttpRequest&) {
    return HttpResponse{.body = metrics.Text(),
                        .content_type = "text/plain; version=0.0.4; charset=utf-8"};
  });
  AddGet(table, "/api/live", Access::kKey,
         [&live = context.live](const HttpRequest& request) { return Look(live, request); });
  AddTaskRoutes(table, context.gate);
  context.metrics.KnowRoutes(table);
}

}  // namespace tandem
