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

bool IsLocalAddress(const std::string& address) {
  if (address.starts_with("unix:")) return true;
  const size_t colon = address.rfind(':');
  return colon != std::string::npos && IsLoopbackHost(address.substr(0, colon));
}

absl::Status CheckListenAddress(const std::string& address, const ListenSafety& safety) {
  if (safety.insecure || (safety.keys && safety.tls) || IsLocalAddress(address)) {
    return absl::OkStatus();
  }
  const char* missing =
      safety.keys  ? "and without TLS keys and prompts could be read on the way; add --tls-cert "
                     "and --tls-key"
      : safety.tls ? "and without keys whoever finds it may use it; add --keys"
                   : "and without keys and TLS whoever finds it may use it and read along; add "
                     "--keys, --tls-cert and --tls-key";
  return absl::InvalidArgumentError(absl::StrCat(
      "listen address '", address, "' can be reached from other machines, ", missing,
      "; or listen on 127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:PATH (--insecure: the "
      "network is trusted)"));
}

}  // namespace tandem
