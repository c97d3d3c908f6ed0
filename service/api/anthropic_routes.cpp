#include "service/api/anthropic_routes.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/answer_writer.h"
#include "service/api/anthropic_answer.h"
#include "service/api/anthropic_request.h"
#include "service/api/call_memory.h"
#include "service/api/random_id.h"
#include "service/api/request_parts.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kRememberedBytes = int64_t{64} << 20;
constexpr int kIdLength = 24;

absl::StatusOr<AnthropicRequest> Parse(const ServiceContext& service, CallMemory& memory,
                                       const HttpRequest& request, bool counting) {
  TANDEM_ASSIGN_OR_RETURN(const Json body, ParseBody(request, service.limits));
  TANDEM_ASSIGN_OR_RETURN(AnthropicRequest parsed,
                          ParseAnthropicRequest(body, {.limits = service.limits,
                                                       .memory = memory,
                                                       .caller = request.caller.name,
                                                       .counting = counting}));
  TANDEM_RETURN_IF_ERROR(CheckModel(service, parsed.model));
  return parsed;
}

void CreateMessage(const ServiceContext& service, const std::shared_ptr<CallMemory>& memory,
                   const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
  auto parsed = Parse(service, *memory, request, /*counting=*/false);
  if (!parsed.ok()) return exchange->Send(ToAnthropicError(parsed.status()));
  auto answer = MakeAnthropicAnswer({.id = absl::StrCat("msg_", RandomId(kIdLength)),
                                     .model = parsed->model,
                                     .caller = request.caller.name,
                                     .memory = memory,
                                     .max_tokens = parsed->call.max_tokens,
                                     .omit_thinking = parsed->omit_thinking});
  AnswerChat(service, request, std::move(exchange), std::move(parsed->call), parsed->stream,
             std::move(answer));
}

absl::StatusOr<size_t> Count(const ServiceContext& service, CallMemory& memory,
                             const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(const AnthropicRequest parsed,
                          Parse(service, memory, request, /*counting=*/true));
  TANDEM_ASSIGN_OR_RETURN(const RenderedChat rendered,
                          RenderPrompt(service, std::get<ChatPrompt>(parsed.call.prompt)));
  return rendered.ids.size();
}

void CountTokens(const ServiceContext& service, const std::shared_ptr<CallMemory>& memory,
                 const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const auto count = Count(service, *memory, request);
  if (!count.ok()) return exchange->Send(ToAnthropicError(count.status()));
  exchange->Send({.body = Json{{"input_tokens", *count}}.dump()});
}

}  // namespace

void AddAnthropicRoutes(RouteTable& routes, const ServiceContext& service) {
  auto memory = std::make_shared<CallMemory>(kRememberedBytes);
  const auto add = [&](const char* path, auto handler) {
    routes.Add({.method = "POST",
                .path = path,
                .access = Access::kKey,
                .handler =
                    [&service, memory, handler](const HttpRequest& request,
                                                std::shared_ptr<Exchange> exchange) {
                      handler(service, memory, request, std::move(exchange));
                    },
                .write_error = ToAnthropicError});
  };
  add("/v1/messages", CreateMessage);
  add("/v1/messages/count_tokens", CountTokens);
}

}  // namespace tandem
