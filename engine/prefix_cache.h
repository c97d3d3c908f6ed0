// Pages of the latent cache that outlive their sequences, so that prompts which begin alike are
// computed once.
//
// A page is cached as soon as the step that filled it has run, while its sequence goes on; and it
// stays cached, idle, when nobody holds it, until its room is needed (page_eviction.h). A page that
// sequences hold keeps all its parents, because they hold those too. The last, part-filled page of
// a sequence is cached when it ends; such a page, and any that is like a prompt only at its
// beginning, is of use by copying it. Full pages that have to go may be kept in RAM below the cache
// (page_tier.h), from where they come back by a copy.
//
// Used by the engine's thread alone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/kv_pages.h"
#include "engine/page_eviction.h"
#include "engine/page_hash.h"
#include "engine/page_tier.h"
#include "engine/prefix_tree.h"

namespace tandem {

// Fewer tokens than this are not worth copying a page.
inline constexpr int32_t kLeastCopiedTokens = 8;

// Where a sequence is in the cache.
struct PrefixChain {
  bool used = false;  // false: neither reads nor feeds the cache
  std::string salt;
  PageHash root;
  std::vector<PageHash> hashes;  // of its full pages, the prompt's at least
  CachedPage* tip = nullptr;     // of its first `known` pages the last; they are cached
  int32_t known = 0;
};

// What of a prompt is cached.
struct PrefixMatch {
  std::vector<int32_t> pages;  // full ones
  CachedPage* tip = nullptr;   // the last of them
  int32_t stored = 0;          // full pages after these, in the tier below
  // A page whose first tokens are the next ones of the prompt; -1: none that is worth it.
  int32_t copy_from = -1;
  int32_t copy_tokens = 0;
  // The prompt and a cached page after `pages` begin alike and then differ.
  struct Fork {
    int32_t position;             // in the prompt
    std::vector<int32_t> cached;  // from there on, some ten
  };
  std::optional<Fork> fork;

  int32_t tokens() const {
    return (static_cast<int32_t>(pages.size()) + stored) * kPageTokens + copy_tokens;
  }
};

class PrefixCache {
 public:
  // `pages` must outlive the cache. `tier`: null for none.
  PrefixCache(KvPages& pages, PageHasher hasher, std::unique_ptr<PageTier> tier = nullptr)
      : pages_(pages), hasher_(std::move(hasher)), tree_(pages.total()), tier_(std::move(tier)) {}

  // Of a sequence that begins with `ids`. Any thread.
  PrefixChain MakeChain(std::string salt, std::span<const int32_t> ids) const;

  // `most`: how many tokens of `ids` may come from the cache.
  PrefixMatch Find(const PrefixChain& chain, std::span<const int32_t> ids, int32_t most) const;
  // The sequence holds the match's full pages from now on, and its stored ones stay until
  // Restore(). REQUIRES: it holds none yet.
  void Take(const PrefixMatch& match, PrefixChain& chain, std::vector<int32_t>& held);
  // Brings the match's stored pages back, into the held ones behind those that Take() gave.
  void Restore(const PrefixMatch& match, PrefixChain& chain, std::span<const int32_t> ids,
               std::span<const int32_t> held);
  // Appends `count` pages, for which idle ones are evicted; false, and none, if there is no room.
  bool Allocate(int64_t count, std::vector<int32_t>& held);
  // The first `cached` of `ids` lie in the pages `held`: full ones become known. If another
  // sequence was first with the same, that one's page takes the place of the held one.
  void Learn(PrefixChain& chain, std::span<const int32_t> ids, int32_t cached,
             std::vector<int32_t>& held);
  // While pages are allocated, the one that is to be copied stays.
  void Pin(int32_t page);
  void Unpin(int32_t page);
  // The sequence leaves. `cached` as in Learn(); 0: what is not known yet is of no use.
  void Release(PrefixChain& chain, std::span<const int32_t> ids, int32_t cached,
               std::vector<int32_t>& held);

  KvPages& pages() { return pages_; }
  const KvPages& pages() const { return pages_; }
  int64_t evicted() const { return evicted_; }
  const PageTier* tier() const { return tier_.get(); }

 private:
  int32_t CountStored(const PrefixChain& chain, std::span<const int32_t> ids, const CachedPage* tip,
                      size_t first, size_t end) const;
  void LearnPage(PrefixChain& chain, CachedPage* parent, std::span<const int32_t> ids,
                 int32_t page);
  void LearnTail(PrefixChain& chain, std::span<const int32_t> ids, int32_t page);
  void EraseBeginningsOf(CachedPage& node);
  void Leave(std::vector<int32_t>& held);
  void MayGo(CachedPage& node);
  void Evict();

  KvPages& pages_;
  const PageHasher hasher_;
  PrefixTree tree_;
  PageEviction eviction_;
  std::unique_ptr<PageTier> tier_;
  int64_t evicted_ = 0;
  uint64_t names_ = 0;
};

}  // namespace tandem
