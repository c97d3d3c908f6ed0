#include "engine/kv_pages.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace tandem {
namespace {

TEST(KvPages, CountsPagesAtTheEdgesOfAPage) {
  EXPECT_EQ(PagesFor(0), 0);
  EXPECT_EQ(PagesFor(1), 1);
  EXPECT_EQ(PagesFor(kPageTokens), 1);
  EXPECT_EQ(PagesFor(kPageTokens + 1), 2);
}

TEST(KvPages, AllocatesAllOrNothing) {
  KvPages pages(4);
  std::vector<int32_t> a, b;
  EXPECT_TRUE(pages.Allocate(3, a));
  EXPECT_FALSE(pages.Allocate(2, b));
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(pages.used(), 3);
  EXPECT_TRUE(pages.Allocate(1, b));
  EXPECT_EQ(pages.free(), 0);
}

TEST(KvPages, ASharedPageIsFreedByItsLastHolder) {
  KvPages pages(2);
  std::vector<int32_t> a;
  ASSERT_TRUE(pages.Allocate(2, a));
  std::vector<int32_t> b = {a[1]};
  pages.Share(b);
  pages.Release(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(pages.used(), 1);
  EXPECT_EQ(pages.references(b[0]), 1);
  pages.Release(b);
  EXPECT_EQ(pages.used(), 0);
}

TEST(KvPagesDeathTest, ReleasingTwiceStopsTheProgram) {
  KvPages pages(2);
  std::vector<int32_t> a;
  ASSERT_TRUE(pages.Allocate(1, a));
  std::vector<int32_t> again = a;
  pages.Release(a);
  EXPECT_DEATH(pages.Release(again), "more often");
}

TEST(KvPages, RandomUseNeverGivesAPageTwiceAndLeaksNothing) {
  KvPages pages(50);
  std::mt19937 random(7);
  std::vector<std::vector<int32_t>> holders(12);
  for (int round = 0; round < 20000; ++round) {
    auto& mine = holders[random() % holders.size()];
    if (random() % 3 == 0)
      pages.Release(mine);
    else
      pages.Allocate(random() % 9, mine);
    std::set<int32_t> distinct;
    size_t held = 0;
    for (const auto& h : holders) {
      held += h.size();
      distinct.insert(h.begin(), h.end());
    }
    ASSERT_EQ(distinct.size(), held);
    ASSERT_EQ(pages.used(), static_cast<int64_t>(held));
  }
  for (auto& h : holders) pages.Release(h);
  EXPECT_EQ(pages.used(), 0);
}

}  // namespace
}  // namespace tandem
