#include "service/batch/result_line.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/access/request_id.h"
#include "service/api/error_status.h"
#include "service/api/random_id.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string Quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Head(const std::string& custom_id) {
  return absl::StrCat("{\"id\":\"batch_req_", RandomId(24),
                      "\",\"custom_id\":", custom_id.empty() ? "null" : Quoted(custom_id));
}

// A body is on one line already, except where an API would write it otherwise.
std::string OnOneLine(const std::string& body) {
  if (body.find('\n') == std::string::npos) return body;
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  return json.is_discarded() ? Quoted(body)
                             : json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string ResponseText(const HttpResponse& response) {
  return absl::StrCat("{\"status_code\":", response.status, ",\"request_id\":\"", RequestId(""),
                      "\",\"body\":", OnOneLine(response.body), "}");
}

std::string ErrorText(const std::string& code, const std::string& message) {
  return absl::StrCat("{\"code\":", Quoted(code), ",\"message\":", Quoted(message), "}");
}

std::string AtLine(int64_t line, const std::string& message) {
  return absl::StrCat("line ", line, ": ", message);
}

}  // namespace

ResultLine AnsweredLine(const std::string& custom_id, const HttpResponse& response) {
  return {
      absl::StrCat(Head(custom_id), ",\"response\":", ResponseText(response), ",\"error\":null}\n"),
      ""};
}

ResultLine RefusedLine(const std::string& custom_id, int64_t line, const absl::Status& error,
                       const HttpResponse& response) {
  std::string code = BatchErrorCode(error);
  std::string text =
      absl::StrCat(Head(custom_id), ",\"response\":", ResponseText(response),
                   ",\"error\":", ErrorText(code, AtLine(line, PublicMessage(error))), "}\n");
  return {std::move(text), std::move(code)};
}

ResultLine NoRequestLine(const std::string& custom_id, int64_t line, const std::string& code,
                         const std::string& message) {
  return {absl::StrCat(Head(custom_id), ",\"response\":null,\"error\":",
                       ErrorText(code, AtLine(line, message)), "}\n"),
          code};
}

std::string BatchErrorCode(const absl::Status& error) {
  if (std::string code = ErrorCodeOf(error); !code.empty()) return code;
  switch (error.code()) {
    case absl::StatusCode::kInvalidArgument:
      return "invalid_request";
    case absl::StatusCode::kNotFound:
      return "model_not_found";
    case absl::StatusCode::kResourceExhausted:
      return "rate_limit_exceeded";
    case absl::StatusCode::kDeadlineExceeded:
      return "deadline_exceeded";
    case absl::StatusCode::kCancelled:
      return "cancelled";
    case absl::StatusCode::kUnimplemented:
      return "unsupported";
    default:
      return "server_error";
  }
}

}  // namespace tandem
