// Below the prefix cache: full pages that had to leave it, kept in RAM, so that whoever needs them
// again, a preempted sequence above all, gets them back by a copy instead of computing them.
//
// A page is either in the cache or here. It is found by its hash, and what it is compared with is
// as exact as in the cache: its own tokens, and which page it follows. For that every page has a
// name, a number that no other page ever gets, and that it keeps here and when it returns. A page
// whose parent was lost for good is found no more; so those that came first go first when there is
// no place, children being evicted before their parents.
//
// Owned by the prefix cache; used by the engine's thread alone.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/page_hash.h"
#include "engine/prefix_tree.h"
#include "gpu_attention/page_store.h"

namespace tandem {

class PageTier {
 public:
  explicit PageTier(std::unique_ptr<PageStore> store);

  struct Page {
    PageHash hash;
    uint64_t name = 0, parent = 0;  // parent 0: the first page of a prompt
    std::string salt;               // of a first page
    std::vector<int32_t> ids;
    int32_t hits = 0;
    int32_t place = -1;
  };

  // Takes a page that is about to leave the cache. REQUIRES: full.
  void Put(const CachedPage& page);
  // The page of these tokens after `parent`; null: not here. ids [kPageTokens]
  const Page* Find(const PageHash& hash, uint64_t parent, const std::string& salt,
                   std::span<const int32_t> ids) const;
  // It stays whatever is put, until it is dropped. REQUIRES: it is here.
  void Pin(const PageHash& hash);
  // Copies it into a page of the cache. REQUIRES: it is here.
  void Load(const PageHash& hash, int32_t page);
  void Drop(const PageHash& hash);

  int64_t total() const { return store_->places(); }
  int64_t used() const { return static_cast<int64_t>(pages_.size()); }
  int64_t saved() const { return saved_; }    // copies to RAM so far
  int64_t loaded() const { return loaded_; }  // and back

 private:
  struct Kept {
    Page page;
    std::list<PageHash>::iterator at;  // in order_, or its end if it is pinned
  };

  std::unique_ptr<PageStore> store_;
  absl::flat_hash_map<PageHash, Kept> pages_;
  std::list<PageHash> order_;  // as they came
  std::vector<int32_t> free_;  // places
  int64_t saved_ = 0, loaded_ = 0;
};

}  // namespace tandem
