#include "service/http/request_reader.h"

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "service/http/http_error.h"

namespace tandem {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

// A chunked body that is not complete lacks so many at least; Beast 1.74 counts on seeing them.
constexpr size_t kFewestBytes = 5;

// Of which a second one would make two readers of a request see two requests, or two callers.
const std::set<std::string>& SingleHeaders() {
  static const std::set<std::string> names = {
      "host",   "content-type", "content-length", "content-encoding", "transfer-encoding", "expect",
      "origin", "x-request-id", "authorization",  "x-api-key",        "tandem-task"};
  return names;
}

bool IsFolded(absl::string_view head) {
  return head.find("\n ") != head.npos || head.find("\n\t") != head.npos;
}

absl::Status TooLong(int64_t max_body_bytes) {
  return HttpError(413, absl::StrCat("the body has more than ", max_body_bytes, " bytes"));
}

}  // namespace

struct RequestReader::Parser {
  http::request_parser<http::string_body> beast;
};

const std::string* RequestHead::Find(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? nullptr : &found->second;
}

RequestReader::RequestReader(int32_t max_head_bytes, int32_t max_headers)
    : max_head_bytes_(max_head_bytes), max_headers_(max_headers) {}
RequestReader::~RequestReader() = default;

void RequestReader::Reset() {
  parser_.reset();
  head_ = {};
  looked_at_ = 0;
  body_begun_ = false;
}

absl::StatusOr<bool> RequestReader::ReadHead(std::string& bytes) {
  const size_t end = bytes.find("\r\n\r\n", looked_at_);
  const size_t head_bytes = end == bytes.npos ? bytes.size() : end + 4;
  if (head_bytes > static_cast<size_t>(max_head_bytes_)) {
    return HttpError(431,
                     absl::StrCat("the request's head has more than ", max_head_bytes_, " bytes"));
  }
  if (end == bytes.npos) {
    looked_at_ = bytes.size() < 3 ? 0 : bytes.size() - 3;
    return false;
  }
  const absl::string_view head(bytes.data(), head_bytes);
  if (IsFolded(head)) return HttpError(400, "a header goes on in the next line");
  parser_ = std::make_unique<Parser>();
  parser_->beast.header_limit(static_cast<uint32_t>(max_head_bytes_));
  parser_->beast.body_limit(
      std::numeric_limits<uint64_t>::max());  // checked by ReadBody()'s caller
  error_code error;
  const size_t taken = parser_->beast.put(boost::asio::buffer(head.data(), head.size()), error);
  if (error == http::error::bad_version) {
    return HttpError(505, "the version of HTTP is none that this server speaks; expected HTTP/1.1");
  }
  if (error || taken != head.size() || !parser_->beast.is_header_done()) {
    return HttpError(400,
                     absl::StrCat("the request is not well-formed HTTP/1.1: ", error.message()));
  }
  bytes.erase(0, head_bytes);
  TANDEM_RETURN_IF_ERROR(TakeFields());
  return true;
}

absl::Status RequestReader::TakeFields() {
  const auto& message = parser_->beast.get();
  head_.method = std::string(message.method_string());
  head_.target = std::string(message.target());
  head_.http_1_0 = message.version() == 10;
  head_.keep_alive = message.keep_alive();
  int32_t n_headers = 0;
  for (const auto& field : message) {
    if (++n_headers > max_headers_) {
      return HttpError(431, absl::StrCat("the request has more than ", max_headers_, " headers"));
    }
    const std::string name = absl::AsciiStrToLower(
        absl::string_view(field.name_string().data(), field.name_string().size()));
    const std::string value(field.value());
    const auto [found, is_new] = head_.headers.emplace(name, value);
    if (is_new) continue;
    if (SingleHeaders().contains(name)) {
      return HttpError(400, absl::StrCat("header ", name, " comes twice"));
    }
    absl::StrAppend(&found->second, ", ", value);
  }
  const std::string* encoding = head_.Find("transfer-encoding");
  if (encoding != nullptr) {
    if (head_.http_1_0 || !absl::EqualsIgnoreCase(*encoding, "chunked")) {
      return HttpError(400, "header Transfer-Encoding is not the one accepted: chunked");
    }
  }
  const std::string* length = head_.Find("content-length");
  if (length != nullptr &&
      (encoding != nullptr || length->find_first_not_of("0123456789") != std::string::npos)) {
    return HttpError(400, "header Content-Length is not one number, or not alone");
  }
  head_.has_body = !parser_->beast.is_done();
  if (const auto bytes = parser_->beast.content_length()) {
    head_.body_bytes =
        static_cast<int64_t>(std::min<uint64_t>(*bytes, std::numeric_limits<int64_t>::max()));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> RequestReader::ReadBody(std::string& bytes, int64_t max_body_bytes) {
  auto& parser = parser_->beast;
  if (head_.body_bytes < 0 && bytes.size() < kFewestBytes) return false;
  if (!std::exchange(body_begun_, true)) {
    if (head_.body_bytes > max_body_bytes) return TooLong(max_body_bytes);
    if (head_.body_bytes < 0) parser.body_limit(static_cast<uint64_t>(max_body_bytes));
    parser.eager(true);
  }
  // Not more at once than is kept between two calls, so that a chunk's head is too long or not
  // whatever comes with it.
  while (!parser.is_done() && (head_.body_bytes >= 0 || bytes.size() >= kFewestBytes)) {
    const size_t piece = std::min(bytes.size(), static_cast<size_t>(max_head_bytes_));
    error_code error;
    const size_t taken = parser.put(boost::asio::buffer(bytes.data(), piece), error);
    bytes.erase(0, taken);
    if (error == http::error::body_limit) return TooLong(max_body_bytes);
    if (error && error != http::error::need_more)
      return HttpError(400, absl::StrCat("the body is not well-formed: ", error.message()));
    if (taken == 0 || bytes.empty()) break;
  }
  if (parser.is_done()) return true;
  if (bytes.size() > static_cast<size_t>(max_head_bytes_))
    return HttpError(400, "a chunk's head or the trailer is too long");
  return false;
}

std::string& RequestReader::body() { return parser_->beast.get().body(); }

}  // namespace tandem
