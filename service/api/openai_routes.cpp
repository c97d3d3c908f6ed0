#include "service/api/openai_routes.h"

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "service/api/answer_writer.h"
#include "service/api/error_status.h"
#include "service/api/openai_answer.h"
#include "service/api/openai_request.h"
#include "service/api/request_parts.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

int64_t NowSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

absl::StatusOr<OpenAiRequest> Parse(const ServiceContext& service, OpenAiApi api,
                                    const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(const Json body, ParseBody(request, service.limits));
  const OpenAiParseArgs args = {.limits = service.limits,
                                .tokenizer = service.engine.tokenizer(),
                                .thinking_default = service.policy.thinking_default};
  TANDEM_ASSIGN_OR_RETURN(OpenAiRequest parsed, api == OpenAiApi::kChat
                                                    ? ParseChatCompletion(body, args)
                                                    : ParseCompletion(body, args));
  TANDEM_RETURN_IF_ERROR(CheckModel(service, parsed.model));
  return parsed;
}

void Create(const ServiceContext& service, OpenAiApi api, const HttpRequest& request,
            std::shared_ptr<Exchange> exchange) {
  auto parsed = Parse(service, api, request);
  if (!parsed.ok()) return exchange->Send(ToOpenAiError(parsed.status()));
  auto answer = MakeOpenAiAnswer(api, *parsed, parsed->model, service.engine.tokenizer());
  AnswerChat(service, request, std::move(exchange), std::move(parsed->calls), parsed->stream,
             std::move(answer));
}

Json ModelJson(const ServiceContext& service, int64_t created_s) {
  return {{"id", service.model_name},
          {"object", "model"},
          {"created", created_s},
          {"owned_by", "tandem"},
          {"root", service.model_name},
          {"parent", nullptr},
          {"max_model_len", service.engine.max_context()}};
}

void ListModels(const ServiceContext& service, int64_t created_s, Exchange& exchange) {
  const Json list = {{"object", "list"}, {"data", Json::array({ModelJson(service, created_s)})}};
  exchange.Send({.body = list.dump()});
}

void GetModel(const ServiceContext& service, int64_t created_s, const std::string& name,
              Exchange& exchange) {
  const absl::Status found = CheckModel(service, name);
  if (!found.ok()) return exchange.Send(ToOpenAiError(found));
  exchange.Send({.body = ModelJson(service, created_s).dump()});
}

}  // namespace

void AddOpenAiRoutes(RouteTable& routes, const ServiceContext& service) {
  const auto add = [&](const char* method, const char* path, HttpHandler handler) {
    routes.Add({method, path, Access::kKey, std::move(handler), ToOpenAiError});
  };
  const auto create = [&service](OpenAiApi api) {
    return [&service, api](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
      Create(service, api, request, std::move(exchange));
    };
  };
  const int64_t created_s = NowSeconds();
  add("POST", "/v1/chat/completions", create(OpenAiApi::kChat));
  add("POST", "/v1/completions", create(OpenAiApi::kText));
  add("GET", "/v1/models",
      [&service, created_s](const HttpRequest&, const std::shared_ptr<Exchange>& exchange) {
        ListModels(service, created_s, *exchange);
      });
  add("GET", "/v1/models/*",
      [&service, created_s](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
        GetModel(service, created_s, request.path_tail, *exchange);
      });
}

}  // namespace tandem
