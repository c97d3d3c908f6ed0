// OpenAI's API: POST /v1/chat/completions and /v1/completions, GET /v1/models and /v1/models/NAME.
#pragma once

#include "service/api/chat_run.h"
#include "service/http/exchange.h"

namespace tandem {

// `service` must outlive the routes.
void AddOpenAiRoutes(RouteTable& routes, const ServiceContext& service);

}  // namespace tandem
