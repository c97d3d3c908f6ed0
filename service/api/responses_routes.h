// OpenAI's Responses: POST /v1/responses, GET and DELETE /v1/responses/ID.
#pragma once

#include "service/api/chat_run.h"
#include "service/http/exchange.h"

namespace tandem {

// `service` must outlive the routes.
void AddResponsesRoutes(RouteTable& routes, const ServiceContext& service);

}  // namespace tandem
