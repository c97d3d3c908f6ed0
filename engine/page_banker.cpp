#include "engine/page_banker.h"

#include <algorithm>

namespace tandem {
namespace {

int64_t Need(const PageHolder& holder) {
  return holder.claim - std::ssize(holder.pages) - holder.more;
}

}  // namespace

bool PageBanker::IsSafe(std::span<const PageHolder> holders) {
  int64_t free = std::ssize(holders_of_);
  int64_t claims = 0;
  for (const PageHolder& holder : holders) claims += holder.claim;
  if (claims <= free) return true;
  for (const PageHolder& holder : holders) {
    free -= holder.more;
    for (int32_t page : holder.pages) free -= holders_of_[page]++ == 0;
  }
  const bool safe = free >= 0 && FindOrder(holders, free);
  for (const PageHolder& holder : holders)
    for (int32_t page : holder.pages) holders_of_[page] = 0;
  return safe;
}

bool PageBanker::FindOrder(std::span<const PageHolder> holders, int64_t free) {
  order_.clear();
  for (const PageHolder& holder : holders) order_.push_back(&holder);
  std::ranges::sort(order_, {}, [](const PageHolder* holder) { return Need(*holder); });
  for (const PageHolder* holder : order_) {
    if (Need(*holder) > free) return false;
    free += holder->more;
    for (int32_t page : holder->pages) free += --holders_of_[page] == 0;
  }
  return true;
}

}  // namespace tandem
