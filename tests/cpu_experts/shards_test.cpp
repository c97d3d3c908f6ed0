#include "cpu_experts/shards.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {
namespace {

constexpr uint8_t kGuard = 0xa5;

struct Size {
  int64_t hidden, intermediate;
};
const Size kSizes[] = {{32, 32}, {64, 96}, {96, 224}, {160, 352}, {512, 704}};

struct Expert {
  MatrixData gate, up, down;
  ExpertWeights weights() const { return {gate.view(), up.view(), down.view()}; }
};

Expert RandomExpert(const Size& size, uint64_t seed) {
  return {MatrixData::Random(size.intermediate, size.hidden, seed),
          MatrixData::Random(size.intermediate, size.hidden, seed + 1),
          MatrixData::Random(size.hidden, size.intermediate, seed + 2)};
}

using Bytes = std::vector<uint8_t>;

// 64-byte aligned copies would be nicer still, but a vector's 16 is what packing asks for.
Bytes Packed(const ShardedLayout& layout, const ExpertWeights& weights) {
  Bytes out(layout.expert_bytes(), kGuard);
  PackShards(layout, weights, out.data());
  return out;
}

std::vector<const uint8_t*> Starts(const ShardedLayout& layout, const Bytes& bytes) {
  std::vector<const uint8_t*> starts;
  for (int s = 0; s < layout.n_shards(); ++s) starts.push_back(bytes.data() + layout.offset(s));
  return starts;
}

Bytes Resharded(const ShardedLayout& from, const Bytes& bytes, const ShardedLayout& to) {
  Bytes out(to.expert_bytes(), kGuard);
  for (int s = 0; s < to.n_shards(); ++s) {
    Bytes block(to.block_bytes(s) + 1, kGuard);
    ReshardInto(from, Starts(from, bytes), to, s, block.data());
    EXPECT_EQ(block.back(), kGuard) << "wrote behind the shard";
    std::copy(block.begin(), block.end() - 1, out.begin() + to.offset(s));
  }
  return out;
}

TEST(Shards, ColumnsAreEvenAndLargerFirst) {
  EXPECT_EQ(ShardColumns(2048, 1), (std::vector<int64_t>{0, 2048}));
  EXPECT_EQ(ShardColumns(2048, 2), (std::vector<int64_t>{0, 1024, 2048}));
  EXPECT_EQ(ShardColumns(2048, 3), (std::vector<int64_t>{0, 704, 1376, 2048}));
  EXPECT_EQ(ShardColumns(96, 2), (std::vector<int64_t>{0, 64, 96}));
  EXPECT_EQ(ShardColumns(96, 3), (std::vector<int64_t>{0, 32, 64, 96}));
  EXPECT_EQ(MaxShards(96), 3);
}

TEST(Shards, BlocksOfKimiK26WasteNothing) {
  for (int n : {1, 2, 4, 8, 16}) {
    const ShardedLayout layout(7168, 2048, n);
    EXPECT_EQ(layout.expert_bytes(), int64_t{3} * 7168 * 2048 * 9 / 16) << n << " shards";
    for (int s = 0; s < n; ++s) EXPECT_EQ(layout.offset(s) % 4096, 0);
  }
}

// Each shard holds exactly the rows and inputs that it should: unpacked and compared.
TEST(Shards, AShardIsTheExpertOfItsColumns) {
  for (const Size& size : kSizes) {
    const Expert expert = RandomExpert(size, 7);
    for (int n = 1; n <= MaxShards(size.intermediate); ++n) {
      const ShardedLayout layout(size.hidden, size.intermediate, n);
      const Bytes bytes = Packed(layout, expert.weights());
      for (int s = 0; s < n; ++s) {
        const ExpertLayout& small = layout.layout(s);
        const int64_t begin = layout.begin(s), columns = small.intermediate;
        MatrixData down = MatrixData::Random(size.hidden, columns, 1);
        for (int64_t p = 0; p < PanelCount(size.hidden); ++p)
          UnpackPanel(bytes.data() + layout.offset(s) + small.down_panel(p), p,
                      {down.packed.data(), {size.hidden, columns / 2}},
                      {down.scales.data(), {size.hidden, columns / 32}});
        const Int4Matrix whole = expert.down.view();
        for (int64_t row = 0; row < size.hidden; ++row) {
          for (int64_t i = 0; i < columns / 2; ++i)
            ASSERT_EQ(down.packed[row * columns / 2 + i], whole.packed(row, begin / 2 + i));
          for (int64_t g = 0; g < columns / 32; ++g)
            ASSERT_EQ(down.scales[row * columns / 32 + g].bits,
                      whole.scales(row, begin / 32 + g).bits);
        }
        Bytes panel(PanelBytes(size.hidden));
        PackPanel(expert.up.view(), begin / 16, panel.data());
        EXPECT_TRUE(std::equal(panel.begin(), panel.end(),
                               bytes.begin() + layout.offset(s) + small.up_panel(0)));
      }
    }
  }
}

TEST(Shards, ReshardingIsBitIdentical) {
  std::mt19937 random(3);
  for (const Size& size : kSizes) {
    const Expert expert = RandomExpert(size, 11);
    const int most = MaxShards(size.intermediate);
    // 1 -> 3 -> 2 -> 1 where there is room, then every cut into every other.
    ShardedLayout at(size.hidden, size.intermediate, 1);
    Bytes bytes = Packed(at, expert.weights());
    std::vector<int> path = {3, 2, 1, most};
    for (int i = 0; i < 20; ++i) path.push_back(1 + static_cast<int>(random() % most));
    for (int n : path) {
      const ShardedLayout to(size.hidden, size.intermediate, std::min(n, most));
      bytes = Resharded(at, bytes, to);
      at = to;
      ASSERT_EQ(bytes, Packed(to, expert.weights()))
          << size.hidden << " x " << size.intermediate << ", " << n << " shards";
    }
  }
}

}  // namespace
}  // namespace tandem::test
