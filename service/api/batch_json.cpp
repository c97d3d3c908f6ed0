#include "service/api/batch_json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "service/api/error_status.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

Json OrNull(const std::string& text) { return text.empty() ? Json() : Json(text); }
Json TimeOrNull(int64_t time_s) { return time_s == 0 ? Json() : Json(time_s); }

Json ErrorsJson(const std::vector<BatchFault>& faults) {
  if (faults.empty()) return nullptr;
  Json data = Json::array();
  for (const BatchFault& fault : faults) {
    data.push_back({{"code", fault.code},
                    {"message", fault.message},
                    {"param", OrNull(FieldOf(absl::InvalidArgumentError(fault.message)))},
                    {"line", TimeOrNull(fault.line)}});
  }
  return {{"object", "list"}, {"data", data}};
}

Json OwnJson(const BatchView& batch) {
  return {{"owner", batch.record.owner},
          {"paused", batch.record.paused},
          {"running", batch.running},
          {"requests_in_flight", batch.in_flight},
          {"seconds_left", batch.left_s < 0 ? Json() : Json(std::round(batch.left_s))},
          {"problem", OrNull(batch.record.problem)}};
}

absl::Status BadQuery(const char* field, const std::string& value, const std::string& expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      field, " is \"", absl::Utf8SafeCHexEscape(value.substr(0, 64)), "\"; expected ", expected));
}

}  // namespace

Json ToJson(const FileRecord& file) {
  return {{"id", file.id},
          {"object", "file"},
          {"bytes", file.bytes},
          {"created_at", file.created_s},
          {"expires_at", file.expires_s},
          {"filename", file.name},
          {"purpose", file.purpose},
          {"status", "processed"}};
}

Json ToJson(const BatchView& batch) {
  const BatchRecord& record = batch.record;
  return {{"id", record.id},
          {"object", "batch"},
          {"endpoint", record.endpoint},
          {"errors", ErrorsJson(record.faults)},
          {"input_file_id", record.input_file},
          {"completion_window", record.window},
          {"status", Name(record.status)},
          {"output_file_id", OrNull(record.output_file)},
          {"error_file_id", OrNull(record.error_file)},
          {"created_at", record.created_s},
          {"in_progress_at", TimeOrNull(record.in_progress_s)},
          {"expires_at", record.expires_s},
          {"finalizing_at", TimeOrNull(record.finalizing_s)},
          {"completed_at", TimeOrNull(record.completed_s)},
          {"failed_at", TimeOrNull(record.failed_s)},
          {"expired_at", TimeOrNull(record.expired_s)},
          {"cancelling_at", TimeOrNull(record.cancelling_s)},
          {"cancelled_at", TimeOrNull(record.cancelled_s)},
          {"request_counts",
           {{"total", record.total},
            {"completed", record.done - record.failed},
            {"failed", record.failed}}},
          {"metadata", Json::parse(record.metadata, nullptr, /*allow_exceptions=*/false)},
          {"tandem", OwnJson(batch)}};
}

Json ListJson(Json data, bool has_more) {
  const bool empty = data.empty();
  const Json first = empty ? Json() : data.front()["id"], last = empty ? Json() : data.back()["id"];
  return {{"object", "list"},
          {"data", std::move(data)},
          {"first_id", first},
          {"last_id", last},
          {"has_more", has_more}};
}

HttpResponse JsonResponse(const Json& body) {
  return {.body = body.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

absl::StatusOr<PageArgs> ParsePage(const std::map<std::string, std::string>& query,
                                   int64_t default_limit, int64_t max_limit) {
  PageArgs page = {.limit = default_limit};
  if (const auto limit = query.find("limit"); limit != query.end()) {
    if (!absl::SimpleAtoi(limit->second, &page.limit) || page.limit < 1 || page.limit > max_limit)
      return BadQuery("limit", limit->second, absl::StrCat("a whole number from 1 to ", max_limit));
  }
  if (const auto order = query.find("order"); order != query.end()) {
    if (order->second != "asc" && order->second != "desc")
      return BadQuery("order", order->second, "asc or desc");
    page.ascending = order->second == "asc";
  }
  if (const auto after = query.find("after"); after != query.end()) page.after = after->second;
  return page;
}

int64_t ParseWindow(const std::string& window) {
  if (window.size() < 2 || window.size() > 10) return 0;
  int64_t number = 0;
  if (!absl::SimpleAtoi(window.substr(0, window.size() - 1), &number) || number < 1) return 0;
  switch (window.back()) {
    case 's':
      return number;
    case 'm':
      return number * 60;
    case 'h':
      return number * 3600;
    case 'd':
      return number * 86400;
    default:
      return 0;
  }
}

absl::Status NoBatchesHere() {
  return absl::UnimplementedError(
      "this server keeps no files and batches; it has to be started with --batch-dir FOLDER");
}

Route BatchRoute(const char* method, const char* path, BatchQueue* batches, BatchAnswer answer) {
  const auto handler = [batches, answer = std::move(answer)](
                           const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
    const absl::StatusOr<HttpResponse> response =
        batches == nullptr ? absl::StatusOr<HttpResponse>(NoBatchesHere())
                           : answer(*batches, request);
    exchange->Send(response.ok() ? *response : ToOpenAiError(response.status()));
  };
  return {.method = method,
          .path = path,
          .access = Access::kKey,
          .handler = handler,
          .write_error = ToOpenAiError,
          .queue = batches == nullptr ? nullptr : &batches->disk()};
}

}  // namespace tandem
