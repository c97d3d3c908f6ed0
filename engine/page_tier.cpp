#include "engine/page_tier.h"

#include <algorithm>

#include "core/status.h"
#include "gpu_attention/step_batch.h"

namespace tandem {

PageTier::PageTier(std::unique_ptr<PageStore> store) : store_(std::move(store)) {
  for (int32_t place = store_->places(); place > 0; --place) free_.push_back(place - 1);
}

void PageTier::Put(const CachedPage& page) {
  TANDEM_CHECK(page.ids.size() == kPageTokens, "only full pages are kept");
  if (const auto other = pages_.find(page.hash); other != pages_.end()) {
    // Of another prompt, by accident.
    if (other->second.at == order_.end()) return;
    Drop(page.hash);
  }
  if (free_.empty() && !order_.empty()) Drop(PageHash(order_.front()));
  if (free_.empty()) return;
  Kept kept{.page = {.hash = page.hash,
                     .name = page.name,
                     .parent = page.parent->name,
                     .salt = page.parent->salt,
                     .ids = page.ids,
                     .hits = page.hits,
                     .place = free_.back()},
            .at = order_.insert(order_.end(), page.hash)};
  free_.pop_back();
  store_->Save(page.page, kept.page.place);
  pages_.emplace(page.hash, std::move(kept));
  ++saved_;
}

const PageTier::Page* PageTier::Find(const PageHash& hash, uint64_t parent, const std::string& salt,
                                     std::span<const int32_t> ids) const {
  const auto found = pages_.find(hash);
  if (found == pages_.end()) return nullptr;
  const Page& page = found->second.page;
  const bool follows = page.parent == parent && (parent != 0 || page.salt == salt);
  return follows && std::ranges::equal(page.ids, ids) ? &page : nullptr;
}

void PageTier::Pin(const PageHash& hash) {
  Kept& kept = pages_.at(hash);
  if (kept.at != order_.end()) order_.erase(kept.at);
  kept.at = order_.end();
}

void PageTier::Load(const PageHash& hash, int32_t page) {
  store_->Load(pages_.at(hash).page.place, page);
  ++loaded_;
}

void PageTier::Drop(const PageHash& hash) {
  const auto found = pages_.find(hash);
  if (found == pages_.end()) return;
  if (found->second.at != order_.end()) order_.erase(found->second.at);
  free_.push_back(found->second.page.place);
  pages_.erase(found);
}

}  // namespace tandem
