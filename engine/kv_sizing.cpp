#include "engine/kv_sizing.h"

#include <algorithm>

#include "engine/kv_pages.h"

namespace tandem {

int64_t ChooseKvPages(const KvSizing& s) {
  if (s.wanted_tokens > 0) return PagesFor(s.wanted_tokens);
  constexpr int64_t kMostTokens = int64_t{1} << 20, kLeastTokens = 4096;
  const int64_t affordable = s.free_bytes / 2 / std::max<int64_t>(1, s.bytes_per_token);
  // In whole pages per sequence, so that rounding does not cost the last one its context.
  const int64_t useful = PagesFor(s.max_positions) * kPageTokens * s.max_sequences;
  const int64_t least = std::min(kLeastTokens, s.max_positions);
  return PagesFor(std::max(least, std::min({affordable, useful, kMostTokens})));
}

}  // namespace tandem
