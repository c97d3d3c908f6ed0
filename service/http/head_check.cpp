#include "service/http/head_check.h"

#include <openssl/rand.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "service/http/http_error.h"

namespace tandem {
namespace {

constexpr size_t kMaxIdBytes = 64;

bool IsLoopback(absl::string_view address) {
  return absl::StartsWith(address, "127.") || address == "[::1]";
}

// Whether `host` is `name`, at the port of this server; browsers leave out the usual one.
bool IsAt(absl::string_view host, absl::string_view name, const OwnNames& names) {
  if (host == absl::StrCat(name, ":", names.port)) return true;
  return host == name && names.port == (names.secure ? 443 : 80);
}

bool IsAllowed(absl::string_view host, const std::string& allowed) {
  if (absl::EqualsIgnoreCase(host, allowed)) return true;
  const size_t colon = host.rfind(':');
  return colon != host.npos && host.find(']', colon) == host.npos &&
         absl::EqualsIgnoreCase(host.substr(0, colon), allowed);
}

bool IsOwnHost(const std::string& host, const OwnNames& names) {
  if (IsAt(host, names.local_address, names)) return true;
  if (IsLoopback(names.local_address)) {
    for (const char* name : {"localhost", "127.0.0.1", "[::1]"}) {
      if (IsAt(host, name, names)) return true;
    }
  }
  return std::any_of(names.allowed_hosts.begin(), names.allowed_hosts.end(),
                     [&](const std::string& allowed) { return IsAllowed(host, allowed); });
}

}  // namespace

absl::Status CheckHost(const RequestHead& head, const OwnNames& names) {
  const std::string* host = head.Find("host");
  if (host == nullptr || host->empty()) return HttpError(400, "header Host is missing");
  if (IsOwnHost(absl::AsciiStrToLower(*host), names)) return absl::OkStatus();
  return HttpError(403,
                   "header Host is none of this server's names; it accepts its own address, and "
                   "names that it was started with (--allow-host)");
}

absl::Status CheckOrigin(const RequestHead& head, const OwnNames& names) {
  const absl::Status refused =
      HttpError(403, "pages of other sites may not use this server from a browser");
  if (const std::string* origin = head.Find("origin")) {
    absl::string_view authority = *origin;
    const bool has_scheme = absl::ConsumePrefix(&authority, "https://") ||
                            (!names.secure && absl::ConsumePrefix(&authority, "http://"));
    const std::string* host = head.Find("host");
    if (!has_scheme || host == nullptr || !absl::EqualsIgnoreCase(authority, *host)) return refused;
  }
  // Links may lead here; images, scripts and forms of others may not.
  const std::string* site = head.Find("sec-fetch-site");
  if (site == nullptr || (*site != "cross-site" && *site != "same-site")) return absl::OkStatus();
  const std::string* mode = head.Find("sec-fetch-mode");
  const bool is_link = head.method == "GET" && mode != nullptr && *mode == "navigate";
  return is_link ? absl::OkStatus() : refused;
}

absl::Status CheckBody(const RequestHead& head, const std::string& type, int64_t max_body_bytes) {
  if (const std::string* expect = head.Find("expect")) {
    if (!absl::EqualsIgnoreCase(*expect, "100-continue")) {
      return HttpError(417, "header Expect is not the one accepted: 100-continue");
    }
  }
  if (!head.has_body) return absl::OkStatus();
  const std::string* encoding = head.Find("content-encoding");
  if (encoding != nullptr && !absl::EqualsIgnoreCase(*encoding, "identity")) {
    return HttpError(415, "header Content-Encoding is not accepted; send the body as it is");
  }
  const std::string* given = head.Find("content-type");
  std::string media = given == nullptr ? "" : given->substr(0, given->find(';'));
  absl::StripAsciiWhitespace(&media);
  if (!absl::EqualsIgnoreCase(media, type)) {
    return HttpError(415, absl::StrCat("header Content-Type is not the one accepted: ", type));
  }
  if (head.body_bytes > max_body_bytes) {
    return HttpError(413, absl::StrCat("the body has more than ", max_body_bytes, " bytes"));
  }
  return absl::OkStatus();
}

std::string PresentedKey(const RequestHead& head) {
  if (const std::string* authorization = head.Find("authorization")) {
    absl::string_view value = *authorization;
    if (!absl::StartsWithIgnoreCase(value, "bearer ")) return "";
    return std::string(absl::StripAsciiWhitespace(value.substr(7)));
  }
  const std::string* key = head.Find("x-api-key");
  return key == nullptr ? "" : *key;
}

std::string RequestIdOf(const RequestHead* head) {
  const std::string* given = head == nullptr ? nullptr : head->Find("x-request-id");
  const auto is_plain = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  if (given != nullptr && !given->empty() && given->size() <= kMaxIdBytes &&
      std::all_of(given->begin(), given->end(), is_plain)) {
    return *given;
  }
  std::string bytes(12, '\0');
  RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  return absl::StrCat("req_", absl::BytesToHexString(bytes));
}

}  // namespace tandem
