// What is refused by a request's head alone, before its body is read: other hosts' names (DNS
// rebinding), other sites' pages, bodies of another type. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "service/http/request_reader.h"

namespace tandem {

// Under what names the server may be asked.
struct OwnNames {
  std::string local_address;  // that the client reached: "127.0.0.1", "[::1]"
  int port = 0;
  bool secure = false;
  std::vector<std::string> allowed_hosts;  // HttpServerOptions
};

// Host: the address, or localhost, 127.0.0.1, [::1] on loopback, with the port; or one that is
// allowed. 400 if it is missing, 403 if it is another.
absl::Status CheckHost(const RequestHead& head, const OwnNames& names);

// A page of another site may not ask: 403. Programs send neither Origin nor Sec-Fetch-Site.
absl::Status CheckOrigin(const RequestHead& head, const OwnNames& names);

// Of the type, and not compressed: 415. Expect is 100-continue or nothing: 417. A length: 413.
absl::Status CheckBody(const RequestHead& head, const std::string& type, int64_t max_body_bytes);

// The key that the client presents: of Authorization: Bearer KEY, or of x-api-key; "" for none.
std::string PresentedKey(const RequestHead& head);

// X-Request-Id, if it is 1 to 64 letters, digits and "._-"; else a new one.
std::string RequestIdOf(const RequestHead* head);

}  // namespace tandem
