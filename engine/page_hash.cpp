#include "engine/page_hash.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "core/status.h"
#include "gpu_attention/step_batch.h"

namespace tandem {

PageHasher::PageHasher(std::string_view model, int bits) {
  std::random_device random;
  std::generate(secret_.begin(), secret_.end(), std::ref(random));
  if (bits < 64) mask_ = (uint64_t{1} << bits) - 1;
  model_ = Hash({}, std::as_bytes(std::span(model)));
}

PageHash PageHasher::Hash(const PageHash& parent, std::span<const std::byte> bytes) const {
  std::array<std::byte, sizeof(PageHash) + kPageTokens * sizeof(int32_t)> buffer;
  std::memcpy(buffer.data(), &parent, sizeof(parent));
  XXH128_hash_t hash;
  if (bytes.size() <= buffer.size() - sizeof(parent)) {
    if (!bytes.empty()) std::memcpy(buffer.data() + sizeof(parent), bytes.data(), bytes.size());
    hash = XXH3_128bits_withSecret(buffer.data(), sizeof(parent) + bytes.size(), secret_.data(),
                                   sizeof(secret_));
  } else {  // a long salt
    const XXH128_hash_t inner =
        XXH3_128bits_withSecret(bytes.data(), bytes.size(), secret_.data(), sizeof(secret_));
    return Hash(parent, std::as_bytes(std::span(&inner, 1)));
  }
  return mask_ == ~uint64_t{0} ? PageHash{hash.high64, hash.low64}
                               : PageHash{0, hash.low64 & mask_};
}

PageHash PageHasher::Root(std::string_view salt) const {
  return Hash(model_, std::as_bytes(std::span(salt)));
}

PageHash PageHasher::Next(const PageHash& parent, std::span<const int32_t> ids) const {
  TANDEM_CHECK(ids.size() == kPageTokens, "only full pages have a name");
  return Hash(parent, std::as_bytes(ids));
}

std::vector<PageHash> PageHasher::Chain(const PageHash& root, std::span<const int32_t> ids) const {
  std::vector<PageHash> chain(ids.size() / kPageTokens);
  PageHash parent = root;
  for (size_t page = 0; page < chain.size(); ++page)
    parent = chain[page] = Next(parent, ids.subspan(page * kPageTokens, kPageTokens));
  return chain;
}

}  // namespace tandem
