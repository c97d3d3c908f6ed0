// On which addresses a server may listen: on those that only programs of this machine can reach, or
// with keys and TLS on any.
#pragma once

#include <string>

#include "core/status.h"

namespace tandem {

// Whether only programs of this machine can reach it: HOST:PORT with HOST localhost, in
// 127.0.0.0/8 or [::1], and unix:PATH.
bool IsLocalAddress(const std::string& address);

struct ListenSafety {
  bool keys = false;      // clients must present one
  bool tls = false;       // what they say is encrypted
  bool insecure = false;  // whoever starts the server says that the network is trusted
};

// Error: INVALID_ARGUMENT, a sentence that says what is missing and what to do.
absl::Status CheckListenAddress(const std::string& address, const ListenSafety& safety);

}  // namespace tandem
