#include "engine/kv_pages.h"

#include "core/status.h"

namespace tandem {

KvPages::KvPages(int64_t total) : references_(total, 0), free_(total) {
  for (int64_t i = 0; i < total; ++i) free_[i] = static_cast<int32_t>(total - 1 - i);
}

bool KvPages::Allocate(int64_t count, std::vector<int32_t>& pages) {
  if (count > free()) return false;
  for (; count > 0; --count) {
    const int32_t page = free_.back();
    free_.pop_back();
    references_[page] = 1;
    pages.push_back(page);
  }
  return true;
}

void KvPages::Share(std::span<const int32_t> pages) {
  for (int32_t page : pages) {
    TANDEM_CHECK(references_[page] > 0, "only a page in use can be shared");
    ++references_[page];
  }
}

void KvPages::Release(std::vector<int32_t>& pages) {
  for (int32_t page : pages) {
    TANDEM_CHECK(references_[page] > 0, "a page was released more often than it was taken");
    if (--references_[page] == 0) free_.push_back(page);
  }
  pages.clear();
}

}  // namespace tandem
