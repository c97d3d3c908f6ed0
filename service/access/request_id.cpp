#include "service/access/request_id.h"

#include <openssl/rand.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr size_t kMaxBytes = 64;

bool IsPlain(unsigned char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; }

}  // namespace

std::string RequestId(std::string_view given) {
  if (!given.empty() && given.size() <= kMaxBytes && std::ranges::all_of(given, IsPlain))
    return std::string(given);
  std::string bytes(12, '\0');
  RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  return absl::StrCat("req_", absl::BytesToHexString(bytes));
}

}  // namespace tandem
