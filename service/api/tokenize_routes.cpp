#include "service/api/tokenize_routes.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/api/answer_writer.h"
#include "service/api/error_status.h"
#include "service/api/json_fields.h"
#include "service/api/openai_request.h"
#include "service/api/request_parts.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

OpenAiParseArgs ParseArgs(const ServiceContext& service) {
  return {.limits = service.limits,
          .tokenizer = service.engine.tokenizer(),
          .thinking_default = service.policy.thinking_default};
}

absl::Status CheckOptionalModel(const ServiceContext& service, JsonFields& fields) {
  const auto model = fields.OptionalText("model");
  return model ? CheckModel(service, *model) : absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> IdsOfChat(const ServiceContext& service, const Json& body) {
  TANDEM_ASSIGN_OR_RETURN(const ChatPrompt prompt, ParseChatPrompt(body, ParseArgs(service)));
  TANDEM_ASSIGN_OR_RETURN(RenderedChat rendered, RenderPrompt(service, prompt));
  return std::move(rendered.ids);
}

absl::StatusOr<Json> DetokenizeBody(const ServiceContext& service, const Json& body) {
  JsonFields fields(body, "");
  const absl::Status model = CheckOptionalModel(service, fields);
  const Json* tokens = fields.OptionalList("tokens", service.limits.max_json_values);
  if (tokens == nullptr) fields.Fail("tokens", "a list of ids");
  const bool skip_special = fields.Bool("skip_special_tokens", false);
  TANDEM_RETURN_IF_ERROR(fields.Done());
  TANDEM_RETURN_IF_ERROR(model);
  TANDEM_ASSIGN_OR_RETURN(const auto ids,
                          ParseIds(tokens, "tokens", service.engine.tokenizer().vocab_size()));
  const std::string text = service.engine.tokenizer().DecodeBytes(ids, skip_special);
  return Json{{"prompt", text}, {"text", text}};  // vLLM's name and SGLang's
}

absl::StatusOr<Json> EstimateBody(const ServiceContext& service, const Json& body) {
  if (!body.is_object()) return JsonFields(body, "").Done();
  JsonFields fields(body, "");
  TANDEM_RETURN_IF_ERROR(CheckModel(service, fields.Text("model")));
  TANDEM_ASSIGN_OR_RETURN(const auto ids, IdsOfChat(service, body));
  return Json{{"data", {{"total_tokens", ids.size()}}}};
}

}  // namespace

absl::StatusOr<Json> TokenizeBody(const ServiceContext& service, const Json& body) {
  JsonFields fields(body, "");
  const absl::Status model = CheckOptionalModel(service, fields);
  const bool strings = fields.Bool("return_token_strs", false);
  const Tokenizer& tokenizer = service.engine.tokenizer();
  std::vector<int32_t> ids;
  if (const auto prompt = fields.OptionalText("prompt")) {
    fields.Ignore({"add_special_tokens"});  // there are none to add
    ids = tokenizer.Encode(*prompt, /*parse_special=*/true);
  } else if (fields.Optional("messages") != nullptr) {
    TANDEM_ASSIGN_OR_RETURN(ids, IdsOfChat(service, body));
    fields.IgnoreRest();
  } else {
    fields.Fail("prompt", "a text (or messages)");
  }
  TANDEM_RETURN_IF_ERROR(fields.Done());
  TANDEM_RETURN_IF_ERROR(model);
  Json answer = {
      {"count", ids.size()}, {"max_model_len", service.engine.max_context()}, {"tokens", ids}};
  for (size_t i = 0; strings && i < ids.size(); ++i)
    answer["token_strs"].push_back(tokenizer.DecodeBytes({&ids[i], 1}, false));
  return answer;
}

void AddTokenizeRoutes(RouteTable& routes, const ServiceContext& service) {
  using Body = absl::StatusOr<Json> (*)(const ServiceContext&, const Json&);
  const auto add = [&](const char* path, Body answer) {
    routes.Add({.method = "POST",
                .path = path,
                .access = Access::kKey,
                .handler =
                    [&service, answer](const HttpRequest& request,
                                       const std::shared_ptr<Exchange>& exchange) {
                      auto body = ParseBody(request, service.limits);
                      if (body.ok()) body = answer(service, *body);
                      exchange->Send(body.ok() ? HttpResponse{.body = Dump(*body)}
                                               : ToOpenAiError(body.status()));
                    },
                .write_error = ToOpenAiError});
  };
  add("/tokenize", TokenizeBody);
  add("/detokenize", DetokenizeBody);
  add("/v1/tokenizers/estimate-token-count", EstimateBody);
}

}  // namespace tandem
