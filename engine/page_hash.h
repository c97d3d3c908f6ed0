// Names of cache pages: a hash of all tokens from the start of the prompt to the end of the page,
// of the salt and of the model.
//
// XXH3, 128 bits, with a secret drawn per process, so nobody can prepare two prompts that collide;
// and whoever finds a page by its hash compares its tokens all the same. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tandem {

struct PageHash {
  uint64_t high = 0, low = 0;
  bool operator==(const PageHash&) const = default;
  template <class H>
  friend H AbslHashValue(H state, const PageHash& hash) {
    return H::combine(std::move(state), hash.low);
  }
};

class PageHasher {
 public:
  // `bits`: how many of a hash are kept; fewer than 128 only to test collisions.
  explicit PageHasher(std::string_view model, int bits = 128);

  // What the first page of a prompt follows.
  PageHash Root(std::string_view salt) const;
  // Of a full page. ids [kPageTokens]
  PageHash Next(const PageHash& parent, std::span<const int32_t> ids) const;
  // Of all full pages of `ids`, in order.
  std::vector<PageHash> Chain(const PageHash& root, std::span<const int32_t> ids) const;

 private:
  PageHash Hash(const PageHash& parent, std::span<const std::byte> bytes) const;

  std::array<uint32_t, 48> secret_;  // XXH3 wants 136 bytes or more
  PageHash model_;
  uint64_t mask_ = ~uint64_t{0};
};

}  // namespace tandem
