#include "service/listen_address.h"

#include <arpa/inet.h>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

bool IsLoopbackHost(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  if (host.size() < 2 || host.front() != '[' || host.back() != ']') return false;
  in6_addr v6;
  return inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6) == 1 &&
         IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace

absl::Status CheckLoopback(const std::string& address) {
  if (address.starts_with("unix:")) return absl::OkStatus();
  const size_t colon = address.rfind(':');
  if (colon != std::string::npos && IsLoopbackHost(address.substr(0, colon))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "listen address '", address,
      "' can be reached from other machines, and the server asks nobody who they are; expected "
      "127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:PATH, or --allow-remote if the network "
      "is trusted"));
}

}  // namespace tandem
