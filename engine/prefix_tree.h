// Which tokens lie in which cached page: a tree whose paths from a root are prompts.
//
// Every node is a page of 64 tokens and follows its parent's; a leaf may have fewer, the end of a
// sequence. Roots have no page; there is one per salt. Nodes are found by PageHash and compared
// token by token. Used by the engine's thread alone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/page_hash.h"

namespace tandem {

struct CachedPage {
  CachedPage* parent = nullptr;
  int32_t page = -1;     // -1: a root
  int32_t position = 0;  // of its first token
  PageHash hash;         // of a full page
  uint64_t name = 0;     // its own in all time (engine/page_tier.h); 0: a root
  std::vector<int32_t> ids;
  std::vector<CachedPage*> children;  // in order of their ids
  std::string salt;                   // of a root
  // What eviction goes by (engine/page_eviction.h).
  int32_t hits = 0;
  double worth = 0;
  uint64_t last_use = 0;
};

class PrefixTree {
 public:
  explicit PrefixTree(int64_t pages) : by_page_(pages) {}

  // Null if nothing of this salt is cached.
  CachedPage* Root(const std::string& salt) const;
  // The full page of these tokens after `parent`, null if there is none. ids [kPageTokens]
  CachedPage* Child(const CachedPage* parent, const PageHash& hash,
                    std::span<const int32_t> ids) const;
  // Of the pages after `parent` the one that shares most tokens with `ids`, and how many.
  struct Neighbour {
    CachedPage* page = nullptr;
    int32_t common = 0;
  };
  Neighbour Nearest(const CachedPage* parent, std::span<const int32_t> ids) const;

  CachedPage* MakeRoot(const std::string& salt);
  // Null if another page has this hash: then the page cannot be told apart and is not cached.
  CachedPage* Insert(CachedPage* parent, const PageHash& hash, std::span<const int32_t> ids,
                     int32_t page);
  // REQUIRES: no children, not a root. A root that has lost its last child goes too.
  void Erase(CachedPage* node);

  // Null: not cached.
  CachedPage* At(int32_t page) const { return by_page_[page].get(); }

 private:
  void EraseIfEmptyRoot(const CachedPage* node);

  std::vector<std::unique_ptr<CachedPage>> by_page_;
  absl::flat_hash_map<PageHash, CachedPage*> by_hash_;  // full pages
  absl::flat_hash_map<std::string, std::unique_ptr<CachedPage>> roots_;
};

}  // namespace tandem
