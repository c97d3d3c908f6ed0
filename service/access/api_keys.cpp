#include "service/access/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tandem {
namespace {

constexpr size_t kSaltBytes = 16, kHashBytes = 32, kKeyBytes = 32;
constexpr size_t kMaxNameBytes = 64, kMaxKeyBytes = 256;

std::string RandomBytes(size_t size) {
  std::string bytes(size, '\0');
  TANDEM_CHECK(
      RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(size)) == 1,
      "the operating system gives random bytes");
  return bytes;
}

// SHA-256(salt || key), in hex.
std::string HashOf(const std::string& salt_hex, const std::string& key) {
  const std::string bytes = absl::HexStringToBytes(salt_hex) + key;
  unsigned char digest[kHashBytes];
  TANDEM_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr) == 1,
               "SHA-256 is there");
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), sizeof digest});
}

bool IsHex(absl::string_view text, size_t bytes) {
  return text.size() == 2 * bytes && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

template <class T>
bool ParseLimit(absl::string_view text, T& limit) {
  return absl::SimpleAtoi(text, &limit) && limit >= 0;
}

// What is wrong with one of a line's words; "" if nothing is.
std::string TakeWord(absl::string_view word, ApiKeys::Entry& entry) {
  const std::pair<absl::string_view, absl::string_view> pair =
      absl::StrSplit(word, absl::MaxSplits('=', 1));
  const auto& [name, value] = pair;
  bool good = false;
  if (name == "salt") {
    good = IsHex(value, kSaltBytes) && entry.salt.empty();
    entry.salt = std::string(value);
  } else if (name == "hash") {
    good = IsHex(value, kHashBytes) && entry.hash.empty();
    entry.hash = std::string(value);
  } else if (name == "requests-per-minute") {
    good = ParseLimit(value, entry.limits.requests_per_minute);
  } else if (name == "tokens-per-minute") {
    good = ParseLimit(value, entry.limits.tokens_per_minute);
  } else if (name == "open-requests") {
    good = ParseLimit(value, entry.limits.open_requests);
  } else {
    return "is a word that means nothing here";
  }
  return good ? "" : "has a value that is none, or comes twice";
}

absl::StatusOr<ApiKeys::Entry> ParseLine(absl::string_view line) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  ApiKeys::Entry entry;
  entry.name = std::string(words[0]);
  if (!ApiKeys::IsName(entry.name)) return absl::InvalidArgumentError("its name is none");
  if (words.size() < 2 || (words[1] != "user" && words[1] != "admin")) {
    return absl::InvalidArgumentError("its second word is neither user nor admin");
  }
  entry.admin = words[1] == "admin";
  for (size_t i = 2; i < words.size(); ++i) {
    const std::string wrong = TakeWord(words[i], entry);
    if (wrong.empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("'", words[i].substr(0, words[i].find('=')), "' ", wrong));
  }
  if (entry.salt.empty() || entry.hash.empty()) {
    return absl::InvalidArgumentError("salt or hash is missing");
  }
  return entry;
}

}  // namespace

bool ApiKeys::IsName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-' || c == '@';
         });
}

absl::StatusOr<ApiKeys> ApiKeys::Load(const std::string& path) {
  struct stat info = {};
  std::ifstream file(path);
  if (!file || stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file of keys, or it cannot be read"));
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": others may write this file of keys; expected mode 0600"));
  }
  ApiKeys keys;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const absl::string_view text = absl::StripAsciiWhitespace(line);
    if (text.empty() || text[0] == '#') continue;
    auto entry = ParseLine(text);
    const auto same_name = [&](const Entry& other) { return other.name == entry->name; };
    if (entry.ok() && std::any_of(keys.entries_.begin(), keys.entries_.end(), same_name)) {
      entry = absl::InvalidArgumentError("its name is another key's");
    }
    if (!entry.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ", line ", number, ": ", entry.status().message()));
    }
    keys.entries_.push_back(*std::move(entry));
  }
  if (keys.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": holds no key; make one with `tandem keys add`"));
  }
  return keys;
}

absl::StatusOr<Caller> ApiKeys::Check(std::string_view key) const {
  if (empty()) return Caller{.name = "", .admin = true};
  const bool possible = !key.empty() && key.size() <= kMaxKeyBytes;
  const std::string bounded(key.substr(0, kMaxKeyBytes));
  const Entry* found = nullptr;
  // All entries, whichever matches, and every byte of each.
  for (const Entry& entry : entries_) {
    const std::string hash = HashOf(entry.salt, bounded);
    const bool same = CRYPTO_memcmp(hash.data(), entry.hash.data(), hash.size()) == 0;
    if (same && possible) found = &entry;
  }
  if (found != nullptr) return Caller{.name = found->name, .admin = found->admin};
  return absl::UnauthenticatedError(
      key.empty() ? "this server asks for a key: Authorization: Bearer KEY, or x-api-key: KEY"
                  : "the key is not one of this server's");
}

KeyLimits ApiKeys::LimitsOf(const Caller& caller) const {
  for (const Entry& entry : entries_) {
    if (entry.name == caller.name) return entry.limits;
  }
  return {};
}

std::pair<std::string, ApiKeys::Entry> ApiKeys::Make(std::string name, bool admin,
                                                     const KeyLimits& limits) {
  const std::string key = absl::StrCat("tdm-", absl::WebSafeBase64Escape(RandomBytes(kKeyBytes)));
  Entry entry{.name = std::move(name), .admin = admin, .limits = limits};
  entry.salt = absl::BytesToHexString(RandomBytes(kSaltBytes));
  entry.hash = HashOf(entry.salt, key);
  return {key, entry};
}

std::string ApiKeys::ToLine(const Entry& entry) {
  std::string line = absl::StrCat(entry.name, entry.admin ? " admin" : " user");
  const KeyLimits& limits = entry.limits;
  if (limits.requests_per_minute > 0) {
    absl::StrAppend(&line, " requests-per-minute=", limits.requests_per_minute);
  }
  if (limits.tokens_per_minute > 0) {
    absl::StrAppend(&line, " tokens-per-minute=", limits.tokens_per_minute);
  }
  if (limits.open_requests > 0) absl::StrAppend(&line, " open-requests=", limits.open_requests);
  return absl::StrCat(line, " salt=", entry.salt, " hash=", entry.hash);
}

}  // namespace tandem
