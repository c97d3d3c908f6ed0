#include "engine/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int32_t> Ids(int count, int32_t first = 0) {
  std::vector<int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

// A sequence as far as the cache knows it.
struct Holder {
  Holder(PrefixCache& cache, std::vector<int32_t> tokens, std::string salt = "")
      : cache(cache), ids(std::move(tokens)), chain(cache.MakeChain(std::move(salt), ids)) {}

  // Takes what is cached and "computes" the rest.
  PrefixMatch Run() {
    const PrefixMatch match = Find();
    cache.Take(match, chain, pages);
    EXPECT_TRUE(cache.Allocate(PagesFor(std::ssize(ids)) - std::ssize(pages), pages));
    Learn();
    return match;
  }
  PrefixMatch Find() const { return cache.Find(chain, ids, static_cast<int32_t>(ids.size()) - 1); }
  void Learn() { cache.Learn(chain, ids, static_cast<int32_t>(ids.size()), pages); }
  void End() { cache.Release(chain, ids, static_cast<int32_t>(ids.size()), pages); }

  PrefixCache& cache;
  std::vector<int32_t> ids;
  PrefixChain chain;
  std::vector<int32_t> pages;
};

struct PrefixCacheTest : ::testing::Test {
  void Begin(int64_t n_pages, int bits = 128) {
    pages = std::make_unique<KvPages>(n_pages);
    cache = std::make_unique<PrefixCache>(*pages, PageHasher("model", bits));
  }
  // How many tokens of such a prompt are cached.
  int32_t Cached(std::vector<int32_t> ids, std::string salt = "") const {
    return Holder(*cache, std::move(ids), std::move(salt)).Find().tokens();
  }
  void RunAndEnd(std::vector<int32_t> ids, std::string salt = "") {
    Holder holder(*cache, std::move(ids), std::move(salt));
    holder.Run();
    holder.End();
  }
  std::unique_ptr<KvPages> pages;
  std::unique_ptr<PrefixCache> cache;
};

TEST_F(PrefixCacheTest, FullPagesAreSharedWhileTheirFirstHolderRuns) {
  Begin(20);
  Holder first(*cache, Ids(200));
  first.Run();
  Holder second(*cache, Ids(300));
  EXPECT_EQ(second.Run().tokens(), 192);
  EXPECT_TRUE(std::equal(first.pages.begin(), first.pages.begin() + 3, second.pages.begin()));
  EXPECT_NE(first.pages[3], second.pages[3]);
  EXPECT_EQ(pages->used(), 4 + 2);
  first.End();
  EXPECT_EQ(pages->used(), 5);
  second.End();
  EXPECT_EQ(pages->used(), 0);
}

TEST_F(PrefixCacheTest, TheLastTokenIsAlwaysLeftToCompute) {
  Begin(20);
  RunAndEnd(Ids(128));
  EXPECT_EQ(Cached(Ids(128)), 127);
  EXPECT_EQ(Cached(Ids(129)), 128);
  EXPECT_EQ(Cached(Ids(65)), 64);
  EXPECT_EQ(Cached(Ids(64)), 63);
}

TEST_F(PrefixCacheTest, ThePartOfAPageIsCopied) {
  Begin(20);
  RunAndEnd(Ids(100));
  Holder next(*cache, Ids(400));
  const PrefixMatch match = next.Find();
  EXPECT_EQ(match.pages.size(), 1u);
  EXPECT_EQ(match.copy_tokens, 36);
  EXPECT_NE(match.copy_from, -1);
  EXPECT_FALSE(match.fork) << "it goes on where the cached one ended";
  // Not worth it for a few tokens.
  std::vector<int32_t> early = Ids(64);
  for (int i = 0; i < 40; ++i) early.push_back(i < kLeastCopiedTokens - 1 ? 64 + i : 9000);
  EXPECT_EQ(Cached(early), 64);
  early[64 + kLeastCopiedTokens - 1] = 64 + kLeastCopiedTokens - 1;
  EXPECT_EQ(Cached(early), 64 + kLeastCopiedTokens);
}

TEST_F(PrefixCacheTest, TellsWhereAPromptLeavesTheCachedOne) {
  Begin(20);
  RunAndEnd(Ids(200));
  std::vector<int32_t> ids = Ids(200);
  for (size_t i = 130; i < ids.size(); ++i) ids[i] += 5000;
  const auto fork = Holder(*cache, ids).Find().fork;
  ASSERT_TRUE(fork);
  EXPECT_EQ(fork->position, 130);
  EXPECT_THAT(fork->cached, ElementsAre(130, 131, 132, 133, 134, 135, 136, 137, 138, 139));
  ids[128] = 7;
  EXPECT_EQ(Holder(*cache, ids).Find().fork->position, 128) << "between two pages";
  ids[0] = 7;
  EXPECT_FALSE(Holder(*cache, ids).Find().fork) << "nothing is alike";
  EXPECT_FALSE(Holder(*cache, Ids(150)).Find().fork) << "it ends before it differs";
}

TEST_F(PrefixCacheTest, SaltsDoNotShare) {
  Begin(20);
  RunAndEnd(Ids(200), "tenant");
  EXPECT_EQ(Cached(Ids(200), "tenant"), 192);
  EXPECT_EQ(Cached(Ids(200), "other"), 0);
  EXPECT_EQ(Cached(Ids(200)), 0);
}

TEST_F(PrefixCacheTest, EqualHashesAloneAreNoHit) {
  Begin(400, /*bits=*/3);  // eight hashes in all
  int32_t learnt = 0;
  for (int prompt = 0; prompt < 40; ++prompt) {
    const std::vector<int32_t> ids = Ids(64 * 3, 1000 * prompt);
    Holder holder(*cache, ids);
    EXPECT_EQ(holder.Run().tokens(), 0) << "prompt " << prompt;
    learnt += holder.chain.known;
    holder.End();
  }
  EXPECT_GT(learnt, 0);
  EXPECT_LE(learnt, 8);
  EXPECT_EQ(pages->used(), 0);
}

TEST_F(PrefixCacheTest, TwoThatComputedTheSameEndUpWithOnePage) {
  Begin(20);
  Holder first(*cache, Ids(200)), second(*cache, Ids(200));
  ASSERT_TRUE(cache->Allocate(4, first.pages));
  ASSERT_TRUE(cache->Allocate(4, second.pages));
  first.Learn();
  second.Learn();
  EXPECT_EQ(pages->used(), 5);
  EXPECT_TRUE(std::equal(first.pages.begin(), first.pages.begin() + 3, second.pages.begin()));
  first.End();
  second.End();
  EXPECT_EQ(pages->used(), 0);
  EXPECT_EQ(pages->idle(), 4) << "three pages and one end";
}

TEST_F(PrefixCacheTest, ALongerPageTakesThePlaceOfTheEndThatItBeginsWith) {
  Begin(20);
  RunAndEnd(Ids(80));
  EXPECT_EQ(pages->idle(), 2);
  RunAndEnd(Ids(90));
  EXPECT_EQ(pages->idle(), 2);
  RunAndEnd(Ids(128));
  EXPECT_EQ(pages->idle(), 2);
  RunAndEnd(Ids(100));
  EXPECT_EQ(pages->idle(), 2) << "is there already";
}

TEST_F(PrefixCacheTest, WhatTheFailedComputedIsForgotten) {
  Begin(20);
  Holder holder(*cache, Ids(200));
  ASSERT_TRUE(cache->Allocate(4, holder.pages));
  cache->Learn(holder.chain, holder.ids, 64, holder.pages);
  cache->Release(holder.chain, holder.ids, 0, holder.pages);
  EXPECT_EQ(Cached(Ids(200)), 64);
  EXPECT_EQ(pages->used(), 0);
}

TEST_F(PrefixCacheTest, LeavesGoBeforeTheirParentsAndTheLeastRecentFirst) {
  Begin(8);
  RunAndEnd(Ids(64 * 3));
  RunAndEnd(Ids(64 * 3, 5000));
  Holder big(*cache, Ids(64 * 4, 9000));
  big.Run();
  EXPECT_EQ(cache->evicted(), 2);
  EXPECT_EQ(Cached(Ids(64 * 3)), 64) << "the end of the older one went";
  EXPECT_EQ(Cached(Ids(64 * 3, 5000)), 64 * 3 - 1);
  big.End();
}

TEST_F(PrefixCacheTest, WhatWasHitOftenOutlivesATurnoverOfTheRest) {
  Begin(10);
  std::vector<int32_t> shared = Ids(64 * 2);
  for (int request = 0; request < 5; ++request) {
    std::vector<int32_t> ids = shared;
    for (int i = 0; i < 64; ++i) ids.push_back(10000 * (request + 1) + i);
    RunAndEnd(ids);
  }
  for (int other = 0; other < 8; ++other) RunAndEnd(Ids(64 * 4, 200000 + 1000 * other));
  EXPECT_EQ(Cached(Ids(64 * 2 + 1)), 128);
  for (int other = 0; other < 60; ++other) RunAndEnd(Ids(64 * 4, 400000 + 1000 * other));
  EXPECT_EQ(Cached(Ids(64 * 2 + 1)), 0) << "but not for ever";
}

TEST_F(PrefixCacheTest, APageInUseIsNeverEvicted) {
  Begin(6);
  Holder holder(*cache, Ids(64 * 3));
  holder.Run();
  std::vector<int32_t> rest;
  EXPECT_FALSE(cache->Allocate(4, rest));
  EXPECT_TRUE(rest.empty());
  EXPECT_TRUE(cache->Allocate(3, rest));
  EXPECT_EQ(Cached(Ids(64 * 3)), 64 * 3 - 1);
  pages->Release(rest);
  holder.End();
}

// Random prompts from a small tree of texts, random ends; every hit is checked against what was
// written into the page.
TEST_F(PrefixCacheTest, RandomUseFindsWhatWasWrittenAndLeaksNothing) {
  Begin(60);
  std::mt19937 random(11);
  std::vector<std::vector<int32_t>> written(60);  // by page
  std::vector<std::unique_ptr<Holder>> running;
  int64_t hits = 0, copies = 0;
  for (int round = 0; round < 4000; ++round) {
    if (running.size() < 6 && random() % 2 == 0) {
      std::vector<int32_t> ids;
      const int length = 1 + random() % 500;
      while (std::ssize(ids) < length) {  // pieces of 50 tokens, two choices each
        const int32_t choice = random() % 8 == 0;
        for (int i = 0; i < 50; ++i) ids.push_back(i * 2 + choice);
      }
      ids.resize(length);
      auto holder = std::make_unique<Holder>(*cache, ids, random() % 5 == 0 ? "salt" : "");
      const PrefixMatch match = holder->Find();
      if (PagesFor(length) - std::ssize(match.pages) > pages->free() - 10) continue;
      cache->Take(match, holder->chain, holder->pages);
      if (match.copy_from >= 0) cache->Pin(match.copy_from);
      ASSERT_TRUE(cache->Allocate(PagesFor(length) - std::ssize(match.pages), holder->pages));
      if (match.copy_from >= 0) {
        const auto& from = written[match.copy_from];
        ASSERT_TRUE(std::equal(from.begin(), from.begin() + match.copy_tokens,
                               ids.begin() + 64 * std::ssize(match.pages)));
        cache->Unpin(match.copy_from);
        ++copies;
      }
      for (size_t page = 0; page < holder->pages.size(); ++page) {
        const auto begin = ids.begin() + 64 * page;
        const std::vector<int32_t> content(begin, std::min(begin + 64, ids.end()));
        if (page < match.pages.size()) {
          ASSERT_EQ(written[holder->pages[page]], content);
          ++hits;
        } else {
          ASSERT_EQ(pages->references(holder->pages[page]), 1);
          written[holder->pages[page]] = content;
        }
      }
      holder->Learn();
      running.push_back(std::move(holder));
    } else if (!running.empty()) {
      const size_t which = random() % running.size();
      running[which]->End();
      running.erase(running.begin() + which);
    }
  }
  for (auto& holder : running) holder->End();
  EXPECT_EQ(pages->used(), 0);
  EXPECT_GT(hits, 1000);
  EXPECT_GT(copies, 100);
  EXPECT_GT(cache->evicted(), 100);
}

}  // namespace
}  // namespace tandem
