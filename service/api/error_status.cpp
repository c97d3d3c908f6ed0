#include "service/api/error_status.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "engine/engine.h"
#include "service/access/gate.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::optional<int64_t> NumberPayload(const absl::Status& error, const char* name) {
  const auto payload = error.GetPayload(name);
  int64_t number = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &number)) return std::nullopt;
  return number;
}

bool IsOurs(int status) { return status >= 500 && status != 501 && status != 503 && status != 504; }

// Moonshot's words, which are OpenAI's where it has one.
const char* TypeOf(int status) {
  switch (status) {
    case 401:
      return "invalid_authentication_error";
    case 403:
      return "permission_denied_error";
    case 404:
      return "resource_not_found_error";
    case 429:
      return "rate_limit_reached_error";
    case 503:
      return "engine_overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return status < 500 || status == 501 ? "invalid_request_error" : "server_error";
  }
}

const char* DefaultCodeOf(int status) {
  switch (status) {
    case 401:
      return "invalid_api_key";
    case 429:
      return "rate_limit_exceeded";
    default:
      return "";
  }
}

Json OrNull(const std::string& text) { return text.empty() ? Json() : Json(text); }

}  // namespace

int HttpStatusOf(const absl::Status& error) {
  if (const auto status = NumberPayload(error, kHttpStatusPayload)) return *status;
  switch (error.code()) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

int RetryAfterSeconds(const absl::Status& error) {
  const int64_t ms = NumberPayload(error, kRetryAfterMsPayload).value_or(0);
  return static_cast<int>((std::clamp<int64_t>(ms, 0, 86'400'000) + 999) / 1000);
}

std::string PublicMessage(const absl::Status& error) {
  if (IsOurs(HttpStatusOf(error)))
    return "the server could not answer this request; its log says why, under the request's id";
  return std::string(error.message());
}

std::string FieldOf(const absl::Status& error) {
  const std::string message(error.message());
  const auto in_field = [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '.' || c == '[' || c == ']' || c == '$' || c == '-';
  };
  size_t end = 0;
  while (end < message.size() && in_field(message[end])) ++end;
  if (end == 0) return {};
  const std::string_view rest = std::string_view(message).substr(end);
  for (const std::string_view verb : {": ", " is ", " has ", " holds ", " must ", " needs "}) {
    if (rest.starts_with(verb)) return message.substr(0, end);
  }
  return {};
}

std::string ErrorCodeOf(const absl::Status& error) {
  const auto code = error.GetPayload(kErrorCodePayload);
  return code ? std::string(*code) : std::string();
}

std::string OpenAiErrorBody(const absl::Status& error) {
  const int status = HttpStatusOf(error);
  std::string code = ErrorCodeOf(error);
  if (code.empty()) code = DefaultCodeOf(status);
  const std::string param = status == 400 ? FieldOf(error) : std::string();
  const Json body = {{"error",
                      {{"message", PublicMessage(error)},
                       {"type", TypeOf(status)},
                       {"param", OrNull(param)},
                       {"code", OrNull(code)}}}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

HttpResponse ToOpenAiError(const absl::Status& error) {
  HttpResponse response = {.status = HttpStatusOf(error), .body = OpenAiErrorBody(error)};
  if (const int seconds = RetryAfterSeconds(error); seconds > 0)
    response.headers.emplace_back("Retry-After", std::to_string(seconds));
  return response;
}

}  // namespace tandem
