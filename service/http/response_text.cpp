#include "service/http/response_text.h"

#include <array>
#include <ctime>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr std::array<std::pair<int, const char*>, 23> kReasons = {{
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
}};

const char* ReasonOf(int status) {
  for (const auto& [code, reason] : kReasons) {
    if (code == status) return reason;
  }
  return "Status";
}

std::string Date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc;
  gmtime_r(&now, &utc);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc)};
}

// What every answer says.
std::string HeadOf(int status, const AnswerFrame& frame) {
  return absl::StrCat(
      "HTTP/1.1 ", status, " ", ReasonOf(status), "\r\nDate: ", Date(),
      "\r\nX-Request-Id: ", frame.request_id, "\r\nRequest-Id: ", frame.request_id,
      "\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY"
      "\r\nCross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n",
      frame.close      ? "Connection: close\r\n"
      : frame.http_1_0 ? "Connection: keep-alive\r\n"
                       : "");
}

bool IsPlain(const std::string& text) { return text.find_first_of({"\r\n\0", 3}) == text.npos; }

}  // namespace

std::string FormatResponse(const HttpResponse& response, const AnswerFrame& frame) {
  std::string bytes = HeadOf(response.status, frame);
  bool has_cache_control = false;
  for (const auto& [name, value] : response.headers) {
    if (!IsPlain(name) || !IsPlain(value)) continue;
    has_cache_control |= absl::EqualsIgnoreCase(name, "cache-control");
    absl::StrAppend(&bytes, name, ": ", value, "\r\n");
  }
  if (!has_cache_control) bytes += "Cache-Control: no-store\r\n";
  const bool can_have_body = response.status != 204 && response.status != 304;
  if (can_have_body) {
    const int64_t body_bytes =
        response.pieces == nullptr ? std::ssize(response.body) : response.pieces->bytes();
    absl::StrAppend(&bytes, "Content-Type: ", response.content_type,
                    "\r\nContent-Length: ", body_bytes, "\r\n");
  }
  bytes += "\r\n";
  if (can_have_body && !frame.without_body) bytes += response.body;
  return bytes;
}

std::string FormatEventsHead(const AnswerFrame& frame) {
  return absl::StrCat(HeadOf(200, frame),
                      "Content-Type: text/event-stream\r\nCache-Control: no-cache, no-store\r\n"
                      "X-Accel-Buffering: no\r\n",
                      frame.http_1_0 ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n");
}

std::string FormatEvents(const std::string& bytes, const AnswerFrame& frame) {
  if (frame.http_1_0) return std::string(bytes);
  return absl::StrCat(absl::Hex(bytes.size()), "\r\n", bytes, "\r\n");
}

std::string FormatComment(const std::string& text) {
  std::string comment = absl::StrCat(": ", text.empty() ? "keep-alive" : text);
  for (char& c : comment) {
    if (c == '\r' || c == '\n') c = ' ';
  }
  return comment + "\n\n";
}

}  // namespace tandem
