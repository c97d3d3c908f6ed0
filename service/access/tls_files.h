// A server's certificate and private key, as read from PEM files and checked.
#pragma once

#include <string>

#include "core/status.h"

namespace tandem {

struct TlsPem {
  std::string certificates;  // the server's own first, then those that lead to a known one
  std::string private_key;
};

// Errors, each naming the file: NOT_FOUND; INVALID_ARGUMENT (no certificate, no key without a
// passphrase, the key of another certificate); FAILED_PRECONDITION (a key that everybody may read,
// a certificate that has expired).
absl::StatusOr<TlsPem> LoadTls(const std::string& certificate_path, const std::string& key_path);

}  // namespace tandem
