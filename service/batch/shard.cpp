#include "service/batch/shard.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tandem {

std::string Shard::ToText() const { return absl::StrCat(index, "/", of); }

absl::StatusOr<Shard> Shard::Parse(std::string_view text) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(std::string(text), absl::MaxSplits('/', 1));
  Shard shard;
  if (absl::SimpleAtoi(parts.first, &shard.index) && absl::SimpleAtoi(parts.second, &shard.of) &&
      shard.index >= 1 && shard.index <= shard.of) {
    return shard;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("shard is \"", absl::Utf8SafeCHexEscape(std::string(text.substr(0, 64))),
                   "\"; expected I/N with 1 <= I <= N, such as 2/8"));
}

}  // namespace tandem
