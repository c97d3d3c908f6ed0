#include "engine/page_banker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace tandem {
namespace {

struct Case {
  std::vector<std::vector<int32_t>> pages;
  std::vector<int64_t> claims, more;

  std::vector<PageHolder> holders() const {
    std::vector<PageHolder> holders;
    for (size_t i = 0; i < pages.size(); ++i) holders.push_back({claims[i], pages[i], more[i]});
    return holders;
  }
};

// Tries every order.
bool AnyOrderWorks(const Case& c, int64_t total) {
  std::vector<int> order(c.pages.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  do {
    bool works = true;
    for (size_t done = 0; done < order.size() && works; ++done) {
      std::set<int32_t> held;
      int64_t free = total;
      for (size_t i = done; i < order.size(); ++i) {
        held.insert(c.pages[order[i]].begin(), c.pages[order[i]].end());
        free -= c.more[order[i]];
      }
      free -= std::ssize(held);
      const int next = order[done];
      const int64_t need = c.claims[next] - std::ssize(c.pages[next]) - c.more[next];
      works = free >= 0 && need <= free;
    }
    if (works) return true;
  } while (std::next_permutation(order.begin(), order.end()));
  return false;
}

TEST(PageBanker, AgreesWithTryingEveryOrder) {
  std::mt19937 random(5);
  int safe = 0, unsafe = 0;
  for (int round = 0; round < 4000; ++round) {
    const int64_t total = 4 + random() % 10;
    PageBanker banker(total);
    Case c;
    const int n = 1 + random() % 5;
    for (int i = 0; i < n; ++i) {
      std::set<int32_t> pages;
      for (int k = random() % 5; k > 0; --k) pages.insert(random() % total);
      c.pages.emplace_back(pages.begin(), pages.end());
      c.more.push_back(random() % 3 == 0 ? random() % 3 : 0);
      c.claims.push_back(std::ssize(pages) + c.more.back() + random() % 6);
    }
    const bool expected = AnyOrderWorks(c, total);
    ASSERT_EQ(banker.IsSafe(c.holders()), expected) << "round " << round;
    ASSERT_EQ(banker.IsSafe(c.holders()), expected) << "nothing is left of the first call";
    (expected ? safe : unsafe) += 1;
  }
  EXPECT_GT(safe, 500);
  EXPECT_GT(unsafe, 500);
}

TEST(PageBanker, ASharedPageComesBackWithItsLastHolder) {
  PageBanker banker(10);
  const std::vector<int32_t> shared = {0, 1, 2, 3, 4, 5}, first = {0, 1, 2, 3, 4, 5, 6};
  // Two share six pages; three are free, then four. The third can go once both have ended.
  EXPECT_TRUE(banker.IsSafe(std::vector<PageHolder>{{8, first, 0}, {9, shared, 0}, {10, {}, 0}}));
  EXPECT_FALSE(banker.IsSafe(std::vector<PageHolder>{{8, first, 0}, {11, shared, 0}}));
}

}  // namespace
}  // namespace tandem
