// OpenAI's files, as inputs and results of batches:
//
//   POST   /v1/files                multipart/form-data: purpose "batch", file
//   GET    /v1/files                purpose, limit, after, order
//   GET    /v1/files/ID, /v1/files/ID/content
//   DELETE /v1/files/ID
#pragma once

#include "service/batch/batch_queue.h"
#include "service/http/exchange.h"

namespace tandem {

// `batches` outlives the routes; null: they answer 501.
void AddFilesRoutes(RouteTable& routes, BatchQueue* batches);

}  // namespace tandem
