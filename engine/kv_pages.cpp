#include "engine/kv_pages.h"

#include "core/status.h"

namespace tandem {

KvPages::KvPages(int64_t total) : references_(total, 0), kept_(total, false), empty_(total) {
  for (int64_t i = 0; i < total; ++i) empty_[i] = static_cast<int32_t>(total - 1 - i);
}

bool KvPages::Allocate(int64_t count, std::vector<int32_t>& pages) {
  if (count > empty()) return false;
  for (; count > 0; --count) {
    const int32_t page = empty_.back();
    empty_.pop_back();
    references_[page] = 1;
    pages.push_back(page);
  }
  return true;
}

void KvPages::Share(std::span<const int32_t> pages) {
  for (int32_t page : pages) {
    TANDEM_CHECK(references_[page] > 0 || kept_[page], "an empty page cannot be shared");
    if (references_[page]++ == 0) --idle_;
  }
}

void KvPages::Release(std::vector<int32_t>& pages) {
  for (int32_t page : pages) {
    TANDEM_CHECK(references_[page] > 0, "a page was released more often than it was taken");
    if (--references_[page] > 0) continue;
    if (kept_[page])
      ++idle_;
    else
      empty_.push_back(page);
  }
  pages.clear();
}

void KvPages::Keep(int32_t page) {
  TANDEM_CHECK(references_[page] > 0 && !kept_[page], "only a page in use can be kept, and once");
  kept_[page] = true;
}

void KvPages::Drop(int32_t page) {
  TANDEM_CHECK(kept_[page], "only a kept page can be dropped");
  kept_[page] = false;
  if (references_[page] > 0) return;
  --idle_;
  empty_.push_back(page);
}

}  // namespace tandem
