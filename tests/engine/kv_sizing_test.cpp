#include "engine/kv_sizing.h"

#include <gtest/gtest.h>

#include "engine/kv_pages.h"

namespace tandem {
namespace {

constexpr int64_t kGb = 1'000'000'000;

TEST(KvSizing, AWishIsRoundedUpToPages) {
  EXPECT_EQ(ChooseKvPages({.wanted_tokens = 1}), 1);
  EXPECT_EQ(ChooseKvPages({.wanted_tokens = 65}), 2);
}

TEST(KvSizing, ASmallModelGetsAllContexts) {
  const int64_t pages = ChooseKvPages({.bytes_per_token = 1000,
                                       .free_bytes = 10 * kGb,
                                       .max_positions = 2000,
                                       .max_sequences = 64});
  EXPECT_EQ(pages, 32 * 64);
}

TEST(KvSizing, ALargeModelGetsHalfOfTheFreeMemory) {
  const KvSizing k26{.bytes_per_token = 70272,
                     .free_bytes = 20 * kGb,
                     .max_positions = 262144,
                     .max_sequences = 64};
  EXPECT_EQ(ChooseKvPages(k26), PagesFor(10 * kGb / 70272));
}

TEST(KvSizing, ThereIsAMostAndALeast) {
  KvSizing sizing{.bytes_per_token = 10,
                  .free_bytes = 1000 * kGb,
                  .max_positions = 262144,
                  .max_sequences = 64};
  EXPECT_EQ(ChooseKvPages(sizing), PagesFor(1 << 20));
  sizing.free_bytes = -5 * kGb;
  EXPECT_EQ(ChooseKvPages(sizing), 64);
  sizing.max_positions = 200;
  EXPECT_EQ(ChooseKvPages(sizing), 4);
}

}  // namespace
}  // namespace tandem
