// Anthropic's API: POST /v1/messages and /v1/messages/count_tokens.
#pragma once

#include "service/api/chat_run.h"
#include "service/http/exchange.h"

namespace tandem {

// `service` must outlive the routes.
void AddAnthropicRoutes(RouteTable& routes, const ServiceContext& service);

}  // namespace tandem
