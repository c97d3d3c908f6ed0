// The envelope of the files that placement writes: what kind of file it is, which version, and a
// checksum over the rest, so that a wrong or damaged file is named as such and never half read.
//
//   "TANDEM\n" kind "\n" | u32 version | u64 payload bytes | u64 XXH3 of the payload | payload
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"

namespace tandem {

struct SealedKind {
  const char* name;  // one word: "profile", "plan"
  uint32_t version;  // the one written, and the only one read
};

// Replaces the file as a whole, or leaves it as it was. Errors name path and reason.
absl::Status WriteSealedFile(const std::string& path, const SealedKind& kind,
                             const std::string& payload);

// Errors, each a sentence with the path: NOT_FOUND, DATA_LOSS (empty, cut short, damaged),
// INVALID_ARGUMENT (not such a file: says what it is instead, if that can be told),
// FAILED_PRECONDITION (another version).
absl::StatusOr<std::string> ReadSealedFile(const std::string& path, const SealedKind& kind);

// The bytes of such a file, and their payload again; `name` stands for the path in errors.
std::string Seal(const SealedKind& kind, const std::string& payload);
absl::StatusOr<std::string> Unseal(std::string bytes, const SealedKind& kind,
                                   const std::string& name);

}  // namespace tandem
