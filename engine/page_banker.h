// Can all these sequences come to their end, one after another, whatever they still need?
// (Dijkstra's banker.)
//
// A sequence may come to hold so many pages (its claim); at its end it gives them back, a shared
// page when its last holder ends. As ending one never leaves less room than there was, the order
// of smallest need first finds a way if there is any.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tandem {

struct PageHolder {
  int64_t claim = 0;               // pages at most, those it holds included
  std::span<const int32_t> pages;  // that it holds; others may hold them too
  int64_t more = 0;                // pages of its own that it would get besides
};

class PageBanker {
 public:
  explicit PageBanker(int64_t total_pages) : holders_of_(total_pages, 0) {}

  // With all that the holders have and would get. False also if there are not so many pages.
  bool IsSafe(std::span<const PageHolder> holders);

 private:
  bool FindOrder(std::span<const PageHolder> holders, int64_t free);

  std::vector<int32_t> holders_of_;  // by page; zero between calls
  std::vector<const PageHolder*> order_;
};

}  // namespace tandem
