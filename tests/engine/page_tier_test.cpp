#include "engine/page_tier.h"

#include <gtest/gtest.h>

#include "tests/engine/scheduler_driver.h"

namespace tandem {
namespace {

using Driver = testing::SchedulerDriver;
using testing::FakePageStore;

constexpr int32_t kRamPages = 3;

class PageTierTest : public ::testing::Test {
 protected:
  // The page `page` of the cache, full of `token`, after `parent`.
  CachedPage& MakePage(int32_t page, int32_t token, CachedPage* parent, uint64_t name) {
    CachedPage& node = *nodes_.emplace_back(std::make_unique<CachedPage>());
    node.parent = parent;
    node.page = page;
    node.name = name;
    node.hash = {1, static_cast<uint64_t>(token)};
    node.ids.assign(kPageTokens, token);
    std::fill_n(cache_.begin() + page * kPageTokens, kPageTokens, token);
    return node;
  }
  const PageTier::Page* Find(const CachedPage& node) const {
    return tier_.Find(node.hash, node.parent->name, node.parent->salt, node.ids);
  }
  int32_t TokenOf(int32_t page) const { return cache_[page * kPageTokens + 7]; }

  std::vector<int32_t> cache_ = std::vector<int32_t>(10 * kPageTokens, -1);
  std::vector<std::unique_ptr<CachedPage>> nodes_;
  CachedPage root_{.salt = "someone"};
  PageTier tier_{std::make_unique<FakePageStore>(cache_, kRamPages)};
};

TEST_F(PageTierTest, KeepsAPageUntilItIsDropped) {
  const CachedPage& page = MakePage(0, 5, &root_, 1);
  tier_.Put(page);
  ASSERT_NE(Find(page), nullptr);
  EXPECT_EQ(Find(page)->name, 1u);
  tier_.Load(page.hash, 9);
  EXPECT_EQ(TokenOf(9), 5);
  tier_.Drop(page.hash);
  EXPECT_EQ(Find(page), nullptr);
  EXPECT_EQ(tier_.used(), 0);
  EXPECT_EQ(tier_.saved(), 1);
  EXPECT_EQ(tier_.loaded(), 1);
}

TEST_F(PageTierTest, ComparesTokensParentAndSalt) {
  CachedPage& first = MakePage(0, 5, &root_, 1);
  CachedPage& second = MakePage(1, 6, &first, 2);
  tier_.Put(second);
  tier_.Put(first);
  ASSERT_NE(Find(first), nullptr);
  ASSERT_NE(Find(second), nullptr);
  std::vector<int32_t> other = first.ids;
  other.back() = 1;
  EXPECT_EQ(tier_.Find(first.hash, 0, "someone", other), nullptr) << "a collision";
  EXPECT_EQ(tier_.Find(first.hash, 0, "someone else", first.ids), nullptr);
  EXPECT_EQ(tier_.Find(second.hash, 7, "", second.ids), nullptr) << "after another page";
}

TEST_F(PageTierTest, WhoCameFirstGoesFirstAndThePinnedStay) {
  std::vector<CachedPage*> pages;
  for (int i = 0; i < 6; ++i) pages.push_back(&MakePage(i, 10 + i, &root_, 1 + i));
  for (int i = 0; i < 3; ++i) tier_.Put(*pages[i]);
  tier_.Pin(pages[0]->hash);
  tier_.Put(*pages[3]);
  EXPECT_NE(Find(*pages[0]), nullptr);
  EXPECT_EQ(Find(*pages[1]), nullptr);
  EXPECT_EQ(tier_.used(), kRamPages);
  tier_.Pin(pages[2]->hash);
  tier_.Pin(pages[3]->hash);
  tier_.Put(*pages[4]);
  EXPECT_EQ(Find(*pages[4]), nullptr) << "no place";
  for (const int i : {0, 2, 3}) {
    tier_.Load(pages[i]->hash, 8);
    EXPECT_EQ(TokenOf(8), 10 + i);
    tier_.Drop(pages[i]->hash);
  }
  EXPECT_EQ(tier_.used(), 0);
  for (int i = 0; i < 6; ++i) tier_.Put(*pages[i]);
  EXPECT_EQ(tier_.used(), kRamPages);
}

GenerationRequest Request(int tokens, int who, Priority priority) {
  GenerationRequest request;
  for (int i = 0; i < tokens; ++i) request.prompt_ids.push_back((i * 7 + who * 13) % 89);
  request.max_tokens = 40;
  request.priority = priority;
  return request;
}

// A preempted sequence whose pages others needed meanwhile.
int64_t RowsOfAReturn(int32_t ram_pages, int64_t* loaded) {
  Driver driver({.prefill_chunk = 512, .max_sequences = 1}, 14, /*caches=*/true, ram_pages);
  driver.Add(Request(64 * 9 + 20, 0, Priority::kBatch));
  for (int i = 0; i < 10; ++i) driver.Step();
  driver.Add(Request(64 * 11, 1, Priority::kInteractive));
  driver.RunAll();
  EXPECT_EQ(driver.scheduler_.preemptions(), 1);
  if (driver.cache_.tier() != nullptr) *loaded = driver.cache_.tier()->loaded();
  return driver.total_prefill_rows_ - (64 * 9 + 20) - 64 * 11;
}

TEST(PageTier, APreemptedSequenceComesBackByCopies) {
  int64_t loaded = 0;
  EXPECT_GE(RowsOfAReturn(0, &loaded), 64 * 6) << "computed again";
  EXPECT_LT(RowsOfAReturn(20, &loaded), 64) << "but the end of the last page";
  EXPECT_GE(loaded, 6);
  EXPECT_GE(RowsOfAReturn(2, &loaded), 64 * 4) << "no room for more than two";
}

TEST(PageTier, PrefixesOfManyTurnsOutliveASmallCache) {
  Driver driver({.prefill_chunk = 512, .max_sequences = 4}, 30, /*caches=*/true, 200);
  for (int turn = 0; turn < 4; ++turn) {
    for (int who = 0; who < 12; ++who) driver.Add(Request(64 * 8 + 1, who, Priority::kNormal));
    driver.RunAll();
  }
  EXPECT_EQ(driver.total_prefill_rows_, 12 * (64 * 8 + 1) + 3 * 12) << "computed once";
  EXPECT_GE(driver.cache_.tier()->loaded(), 2 * 12 * 8);
}

}  // namespace
}  // namespace tandem
