#include "engine/prefix_cache.h"

#include <algorithm>

#include "core/status.h"

namespace tandem {
namespace {

// How many ids of a fork are told.
constexpr size_t kForkTokens = 10;

std::span<const int32_t> PageOf(std::span<const int32_t> ids, size_t page) {
  return ids.subspan(page * kPageTokens,
                     std::min<size_t>(kPageTokens, ids.size() - page * kPageTokens));
}

}  // namespace

PrefixChain PrefixCache::MakeChain(std::string salt, std::span<const int32_t> ids) const {
  PrefixChain chain;
  chain.used = true;
  chain.salt = std::move(salt);
  chain.root = hasher_.Root(chain.salt);
  chain.hashes = hasher_.Chain(chain.root, ids);
  return chain;
}

PrefixMatch PrefixCache::Find(const PrefixChain& chain, std::span<const int32_t> ids,
                              int32_t most) const {
  PrefixMatch match;
  const size_t most_pages = std::min<size_t>(most / kPageTokens, chain.hashes.size());
  const CachedPage* last = chain.used ? tree_.Root(chain.salt) : nullptr;
  if (last == nullptr) {
    match.stored = CountStored(chain, ids, nullptr, 0, most_pages);
    return match;
  }
  while (match.pages.size() < most_pages) {
    const size_t page = match.pages.size();
    CachedPage* next = tree_.Child(last, chain.hashes[page], PageOf(ids, page));
    if (next == nullptr) break;
    match.pages.push_back(next->page);
    last = match.tip = next;
  }
  match.stored = CountStored(chain, ids, match.tip, match.pages.size(), most_pages);
  if (match.stored > 0) return match;
  const std::span<const int32_t> rest = PageOf(ids, match.pages.size());
  const auto [nearest, common] = tree_.Nearest(last, rest);
  if (nearest == nullptr) return match;
  const int32_t copied = std::min(common, most - match.tokens());
  const bool alike_at_all = common > 0 || !match.pages.empty();
  if (alike_at_all && common < std::ssize(nearest->ids) && common < std::ssize(rest)) {
    const auto from = nearest->ids.begin() + common;
    const auto count = std::min<ptrdiff_t>(kForkTokens, nearest->ids.end() - from);
    match.fork = {match.tokens() + common, {from, from + count}};
  }
  if (copied >= kLeastCopiedTokens) {
    match.copy_from = nearest->page;
    match.copy_tokens = copied;
  }
  return match;
}

// How many of the pages from `first` on the tier has, `tip` being the one before them.
int32_t PrefixCache::CountStored(const PrefixChain& chain, std::span<const int32_t> ids,
                                 const CachedPage* tip, size_t first, size_t end) const {
  if (tier_ == nullptr || !chain.used) return 0;
  uint64_t parent = tip != nullptr ? tip->name : 0;
  size_t page = first;
  for (; page < end; ++page) {
    const PageTier::Page* stored =
        tier_->Find(chain.hashes[page], parent, chain.salt, PageOf(ids, page));
    if (stored == nullptr) break;
    parent = stored->name;
  }
  return static_cast<int32_t>(page - first);
}

void PrefixCache::Restore(const PrefixMatch& match, PrefixChain& chain,
                          std::span<const int32_t> ids, std::span<const int32_t> held) {
  for (int32_t i = 0; i < match.stored; ++i) {
    const size_t at = match.pages.size() + i;
    tier_->Load(chain.hashes[at], held[at]);
    if (chain.used) {
      CachedPage* parent = chain.tip != nullptr ? chain.tip : tree_.MakeRoot(chain.salt);
      LearnPage(chain, parent, PageOf(ids, at), held[at]);
    }
    tier_->Drop(chain.hashes[at]);
  }
}

void PrefixCache::Take(const PrefixMatch& match, PrefixChain& chain, std::vector<int32_t>& held) {
  TANDEM_CHECK(held.empty(), "a sequence takes its beginning first");
  for (int32_t page : match.pages) Pin(page);
  for (int32_t i = 0; i < match.stored; ++i) tier_->Pin(chain.hashes[match.pages.size() + i]);
  held = match.pages;
  chain.tip = match.tip;
  chain.known = static_cast<int32_t>(match.pages.size());
}

void PrefixCache::Pin(int32_t page) {
  CachedPage& node = *tree_.At(page);
  if (pages_.references(page) == 0) eviction_.Remove(node);
  ++node.hits;
  pages_.Share({&page, 1});
}

void PrefixCache::Unpin(int32_t page) {
  std::vector<int32_t> pinned = {page};
  Leave(pinned);
}

bool PrefixCache::Allocate(int64_t count, std::vector<int32_t>& held) {
  if (count > pages_.free()) return false;
  while (pages_.empty() < count) Evict();
  return pages_.Allocate(count, held);
}

void PrefixCache::Evict() {
  const int32_t page = eviction_.Pop();
  TANDEM_CHECK(page >= 0, "below an idle page there is an idle leaf");
  CachedPage* node = tree_.At(page);
  CachedPage* parent = node->parent;
  if (tier_ != nullptr && std::ssize(node->ids) == kPageTokens) tier_->Put(*node);
  const bool parent_stays = parent->page >= 0;
  tree_.Erase(node);
  pages_.Drop(page);
  if (parent_stays) MayGo(*parent);
  ++evicted_;
}

void PrefixCache::MayGo(CachedPage& node) {
  if (node.children.empty() && pages_.references(node.page) == 0) eviction_.Add(node);
}

void PrefixCache::Learn(PrefixChain& chain, std::span<const int32_t> ids, int32_t cached,
                        std::vector<int32_t>& held) {
  while (chain.used && (chain.known + 1) * kPageTokens <= cached) {
    const std::span<const int32_t> page_ids = PageOf(ids, chain.known);
    if (std::ssize(chain.hashes) == chain.known)
      chain.hashes.push_back(
          hasher_.Next(chain.known == 0 ? chain.root : chain.hashes.back(), page_ids));
    const PageHash& hash = chain.hashes[chain.known];
    CachedPage* parent = chain.tip != nullptr ? chain.tip : tree_.MakeRoot(chain.salt);
    int32_t& page = held[chain.known];
    CachedPage* node = tree_.Child(parent, hash, page_ids);
    if (node != nullptr) {
      Pin(node->page);
      std::vector<int32_t> own = {std::exchange(page, node->page)};
      pages_.Release(own);
      chain.tip = node;
      ++chain.known;
    } else {
      LearnPage(chain, parent, page_ids, page);
    }
  }
}

// The page behind those that are known. A page that cannot be told apart from another ends that.
void PrefixCache::LearnPage(PrefixChain& chain, CachedPage* parent, std::span<const int32_t> ids,
                            int32_t page) {
  const PageHash& hash = chain.hashes[chain.known];
  // The tier may have it too, from another time: then it goes on under its name.
  const PageTier::Page* stored =
      tier_ != nullptr ? tier_->Find(hash, parent->name, chain.salt, ids) : nullptr;
  CachedPage* node = tree_.Insert(parent, hash, ids, page);
  chain.used = node != nullptr;
  if (!chain.used) return;
  node->name = stored != nullptr ? stored->name : ++names_;
  node->hits = stored != nullptr ? stored->hits : 0;
  if (stored != nullptr) tier_->Drop(hash);
  pages_.Keep(page);
  EraseBeginningsOf(*node);
  chain.tip = node;
  ++chain.known;
}

// Ends of sequences that this page begins with are of no more use.
void PrefixCache::EraseBeginningsOf(CachedPage& node) {
  const auto& siblings = node.parent->children;
  for (;;) {
    const auto at = std::ranges::find(siblings, &node);
    if (at == siblings.begin()) return;
    CachedPage* before = *(at - 1);
    const bool beginning = before->ids.size() < node.ids.size() &&
                           std::equal(before->ids.begin(), before->ids.end(), node.ids.begin());
    if (!beginning || pages_.references(before->page) > 0) return;
    const int32_t page = before->page;
    eviction_.Remove(*before);
    tree_.Erase(before);
    pages_.Drop(page);
  }
}

void PrefixCache::LearnTail(PrefixChain& chain, std::span<const int32_t> ids, int32_t page) {
  CachedPage* parent = chain.tip != nullptr ? chain.tip : tree_.MakeRoot(chain.salt);
  if (tree_.Nearest(parent, ids).common == std::ssize(ids)) return;  // is there already
  CachedPage* node = tree_.Insert(parent, {}, ids, page);
  pages_.Keep(page);
  EraseBeginningsOf(*node);
}

void PrefixCache::Release(PrefixChain& chain, std::span<const int32_t> ids, int32_t cached,
                          std::vector<int32_t>& held) {
  Learn(chain, ids, cached, held);
  const int32_t tail = cached - chain.known * kPageTokens;
  if (chain.used && tail >= kLeastCopiedTokens)
    LearnTail(chain, ids.subspan(chain.known * kPageTokens, tail), held[chain.known]);
  chain.tip = nullptr;
  chain.known = 0;
  Leave(held);
}

void PrefixCache::Leave(std::vector<int32_t>& held) {
  const std::vector<int32_t> left = held;
  pages_.Release(held);
  for (int32_t page : left) {
    CachedPage* node = tree_.At(page);
    if (node == nullptr || pages_.references(page) > 0) continue;
    eviction_.Touch(*node);
    MayGo(*node);
  }
}

}  // namespace tandem
