// OpenAI's batches, and what ours can besides:
//
//   POST   /v1/batches              input_file_id, endpoint, completion_window, metadata
//   GET    /v1/batches              limit, after; all=true: of all keys, for admins
//   GET    /v1/batches/ID
//   POST   /v1/batches/ID/cancel, /v1/batches/ID/pause, /v1/batches/ID/resume
//   DELETE /v1/batches/ID           one that has ended, with its results
//   POST   /api/batches/pause, /api/batches/resume       all batch work; admins
#pragma once

#include "service/batch/batch_queue.h"
#include "service/http/exchange.h"
#include "service/limits.h"

namespace tandem {

// Both outlive the routes; `batches` null: they answer 501.
void AddBatchesRoutes(RouteTable& routes, const Limits& limits, BatchQueue* batches);

}  // namespace tandem
