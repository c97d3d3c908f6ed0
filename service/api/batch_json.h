// Files and batches as OpenAI's API shows them (kimi_k26: batch files).
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/status.h"
#include "service/batch/batch_queue.h"
#include "service/http/exchange.h"

namespace tandem {

nlohmann::ordered_json ToJson(const FileRecord& file);
// With a key of our own, "tandem": what the API has no word for.
nlohmann::ordered_json ToJson(const BatchView& batch);

// {"object": "list", "data": [...], "first_id", "last_id", "has_more"}
nlohmann::ordered_json ListJson(nlohmann::ordered_json data, bool has_more);

HttpResponse JsonResponse(const nlohmann::ordered_json& body);

// `limit`, `after`, `order` of a query. INVALID_ARGUMENT naming the field.
absl::StatusOr<PageArgs> ParsePage(const std::map<std::string, std::string>& query,
                                   int64_t default_limit, int64_t max_limit);

// "90s", "30m", "24h", "7d" -> seconds; 0: it is none of these.
int64_t ParseWindow(const std::string& window);

// On a server that keeps no batches: UNIMPLEMENTED.
absl::Status NoBatchesHere();

// A route for holders of keys, answered on the queue for the disk; without `batches`, which
// outlives it, by NoBatchesHere().
using BatchAnswer = std::function<absl::StatusOr<HttpResponse>(BatchQueue&, const HttpRequest&)>;
Route BatchRoute(const char* method, const char* path, BatchQueue* batches, BatchAnswer answer);

}  // namespace tandem
