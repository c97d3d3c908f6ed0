// The keys that a server accepts. A file holds a line for each: name, rights, limits and a salted
// hash; the key itself is shown once, when `tandem keys add` makes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "service/access/caller.h"

namespace tandem {

// Of one key; 0: none.
struct KeyLimits {
  int32_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;  // prompts (without what comes from the cache) and answers
  int32_t open_requests = 0;      // at once
};

class ApiKeys {
 public:
  struct Entry {
    std::string name;
    bool admin = false;
    KeyLimits limits;
    std::string salt, hash;  // hex; hash = SHA-256(salt || key)
  };

  // No keys: everybody may do everything.
  ApiKeys() = default;
  // Errors: NOT_FOUND, INVALID_ARGUMENT naming file, line and what is wrong; FAILED_PRECONDITION
  // for a file that others may write, or that holds no key.
  static absl::StatusOr<ApiKeys> Load(const std::string& path);

  bool empty() const { return entries_.empty(); }
  const std::vector<Entry>& entries() const { return entries_; }

  // Who presents this key. UNAUTHENTICATED for none and for an unknown one, in a time that does not
  // depend on how much of it is right.
  absl::StatusOr<Caller> Check(std::string_view key) const;
  KeyLimits LimitsOf(const Caller& caller) const;

  // A new key, of 256 random bits: "tdm-..." and the entry to be kept of it.
  static std::pair<std::string, Entry> Make(std::string name, bool admin, const KeyLimits& limits);
  static std::string ToLine(const Entry& entry);
  static bool IsName(const std::string& name);  // 1 to 64 letters, digits and "._-@"

 private:
  std::vector<Entry> entries_;
};

}  // namespace tandem
