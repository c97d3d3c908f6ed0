#include "placement/prefill_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr SplitCosts kCosts = {
    .cpu_expert_s = 1, .cpu_row_s = 0.25, .send_s = 2, .gpu_row_s = 0.01};

TEST(PrefillSplit, FewRowsStayWhereTheyAre) {
  EXPECT_THAT(SplitPrefill(std::vector<int32_t>{}, kCosts, 0).streamed, IsEmpty());
  // One second on the CPU, two to send.
  EXPECT_THAT(SplitPrefill(std::vector<int32_t>{0, 1, 0}, kCosts, 0).streamed, IsEmpty());
}

TEST(PrefillSplit, TheHeaviestGoFirst) {
  const std::vector<int32_t> rows = {1, 40, 3, 80, 0};
  const PrefillSplit split = SplitPrefill(rows, kCosts, 0);
  EXPECT_THAT(split.streamed, ElementsAre(3, 1));
  EXPECT_DOUBLE_EQ(split.cpu_s, 2);
  EXPECT_DOUBLE_EQ(split.gpu_s, 4);
}

TEST(PrefillSplit, ABusyGpuTakesLess) {
  const std::vector<int32_t> rows(10, 16);  // 4 s each on the CPU
  const size_t idle = SplitPrefill(rows, kCosts, 0).streamed.size();
  const size_t busy = SplitPrefill(rows, kCosts, 10).streamed.size();
  EXPECT_GT(idle, busy);
  EXPECT_THAT(SplitPrefill(rows, kCosts, 1000).streamed, IsEmpty());
}

// Neither side ends later than either alone, and the last expert moved is worth moving.
TEST(PrefillSplit, BothSidesFinishTogether) {
  std::mt19937 random(11);
  for (int i = 0; i < 2000; ++i) {
    std::vector<int32_t> rows(1 + random() % 64);
    for (int32_t& n : rows) n = random() % 3 == 0 ? 0 : static_cast<int32_t>(random() % 200);
    const auto unit = [&] { return 0.001 * static_cast<double>(1 + random() % 1000); };
    const SplitCosts costs = {unit(), unit() / 10, unit(), unit() / 100};
    const double busy = unit() * static_cast<double>(random() % 20);
    const PrefillSplit split = SplitPrefill(rows, costs, busy);
    double cpu_alone = 0, heaviest = 0;
    for (const int32_t n : rows) {
      cpu_alone += costs.CpuSeconds(n);
      heaviest = std::max({heaviest, costs.CpuSeconds(n), costs.send_s, costs.gpu_row_s * n});
    }
    const double end = std::max(split.cpu_s, split.gpu_s);
    EXPECT_LE(end, std::max(cpu_alone, busy) + 1e-9);
    // Unless nothing could be moved, the two ends differ by no more than one expert.
    if (!split.streamed.empty()) {
      EXPECT_LE(split.gpu_s, split.cpu_s + heaviest + 1e-9);
    }
    for (const int32_t moved : split.streamed) EXPECT_GT(rows[moved], 0);
  }
}

}  // namespace
}  // namespace tandem
