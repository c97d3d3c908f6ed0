#include "service/api/responses_routes.h"

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "service/api/answer_writer.h"
#include "service/api/error_status.h"
#include "service/api/random_id.h"
#include "service/api/request_parts.h"
#include "service/api/response_store.h"
#include "service/api/responses_answer.h"
#include "service/api/responses_request.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kStoredBytesPerCaller = int64_t{32} << 20;
constexpr int kIdLength = 32;

using Store = std::shared_ptr<ResponseStore>;

absl::StatusOr<ResponsesRequest> Parse(const ServiceContext& service, ResponseStore& store,
                                       const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(const Json body, ParseBody(request, service.limits));
  TANDEM_ASSIGN_OR_RETURN(
      ResponsesRequest parsed,
      ParseResponsesRequest(body, {.limits = service.limits,
                                   .store = store,
                                   .caller = request.caller.name,
                                   .thinking_default = service.policy.thinking_default}));
  TANDEM_RETURN_IF_ERROR(CheckModel(service, parsed.model));
  return parsed;
}

std::string Dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void Create(const ServiceContext& service, const Store& store, const HttpRequest& request,
            std::shared_ptr<Exchange> exchange) {
  auto parsed = Parse(service, *store, request);
  if (!parsed.ok()) return exchange->Send(ToOpenAiError(parsed.status()));
  ResponsesAnswerArgs args = {.id = absl::StrCat("resp_", RandomId(kIdLength)),
                              .model = parsed->model,
                              .created_s = std::chrono::duration_cast<std::chrono::seconds>(
                                               std::chrono::system_clock::now().time_since_epoch())
                                               .count(),
                              .echo = std::move(parsed->echo),
                              .seal_reasoning = parsed->seal_reasoning};
  if (parsed->store) {
    args.on_end = [store, caller = request.caller.name, id = args.id,
                   messages = std::move(parsed->messages)](const Json& response,
                                                           Json message) mutable {
      messages.push_back(std::move(message));
      store->Keep(caller, {id, Dumped(response), Dumped(messages)});
    };
  }
  AnswerChat(service, request, std::move(exchange), std::move(parsed->call), parsed->stream,
             MakeResponsesAnswer(std::move(args)));
}

absl::Status NotKept(const std::string& id) {
  return absl::NotFoundError(absl::StrCat(
      "no response of the id \"", absl::Utf8SafeCHexEscape(id.substr(0, 64)), "\" is kept here"));
}

void Get(const ServiceContext&, const Store& store, const HttpRequest& request,
         std::shared_ptr<Exchange> exchange) {
  const auto kept = store->Find(request.caller.name, request.path_tail);
  if (!kept) return exchange->Send(ToOpenAiError(NotKept(request.path_tail)));
  exchange->Send({.body = kept->response});
}

void Delete(const ServiceContext&, const Store& store, const HttpRequest& request,
            std::shared_ptr<Exchange> exchange) {
  const std::string& id = request.path_tail;
  if (!store->Delete(request.caller.name, id)) return exchange->Send(ToOpenAiError(NotKept(id)));
  const Json body = {{"id", id}, {"object", "response"}, {"deleted", true}};
  exchange->Send({.body = body.dump()});
}

}  // namespace

void AddResponsesRoutes(RouteTable& routes, const ServiceContext& service) {
  auto store = std::make_shared<ResponseStore>(kStoredBytesPerCaller);
  const auto add = [&](const char* method, const char* path, auto handler) {
    routes.Add({.method = method,
                .path = path,
                .access = Access::kKey,
                .handler =
                    [&service, store, handler](const HttpRequest& request,
                                               std::shared_ptr<Exchange> exchange) {
                      handler(service, store, request, std::move(exchange));
                    },
                .write_error = ToOpenAiError});
  };
  add("POST", "/v1/responses", Create);
  add("GET", "/v1/responses/*", Get);
  add("DELETE", "/v1/responses/*", Delete);
}

}  // namespace tandem
