#include "cpu_experts/panel16g32.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {
namespace {

constexpr uint64_t kSeed = 41;
constexpr uint8_t kGuard = 0xa5;

int Nibble(const MatrixData& m, int64_t row, int64_t input) {
  const uint8_t byte = m.packed[row * m.inputs / 2 + input / 2];
  return input % 2 == 0 ? byte & 15 : byte >> 4;
}

// The layout, written once more straight from its description.
std::vector<uint8_t> NaivePanel(const MatrixData& m, int64_t panel) {
  std::vector<uint8_t> out(PanelBytes(m.inputs), 0);
  for (int64_t g = 0; g < m.inputs / 32; ++g) {
    for (int64_t r = 0; r < 16; ++r) {
      const int64_t row = panel * 16 + r;
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t t = 0; t < 4; ++t) {
          const bool exists = row < m.rows;
          const int low = exists ? Nibble(m, row, 32 * g + 4 * i + t) : 8;
          const int high = exists ? Nibble(m, row, 32 * g + 16 + 4 * i + t) : 8;
          out[256 * g + 64 * i + 4 * r + t] = static_cast<uint8_t>(low | high << 4);
        }
      }
      if (row >= m.rows) continue;
      const uint16_t scale = m.scales[row * m.inputs / 32 + g].bits;
      const int64_t at = m.inputs / 32 * 256 + (16 * g + r) * 2;
      out[at] = static_cast<uint8_t>(scale);
      out[at + 1] = static_cast<uint8_t>(scale >> 8);
    }
  }
  return out;
}

struct Size {
  int64_t rows, inputs;
};
const Size kSizes[] = {{16, 32}, {16, 64}, {1, 32}, {5, 96}, {17, 32}, {31, 160}, {48, 7168}};

TEST(Panel16g32, PacksAsDescribedAndWritesNothingElse) {
  for (const Size& size : kSizes) {
    const MatrixData m = MatrixData::Random(size.rows, size.inputs, kSeed);
    for (int64_t p = 0; p < PanelCount(size.rows); ++p) {
      const int64_t bytes = PanelBytes(size.inputs);
      alignas(64) static uint8_t out[1 << 17];
      std::fill_n(out, bytes + 128, kGuard);
      PackPanel(m.view(), p, out + 64);
      const std::vector<uint8_t> got(out + 64, out + 64 + bytes);
      EXPECT_EQ(got, NaivePanel(m, p)) << size.rows << " x " << size.inputs << ", panel " << p;
      for (int i = 0; i < 64; ++i) {
        ASSERT_EQ(out[i], kGuard);
        ASSERT_EQ(out[64 + bytes + i], kGuard);
      }
    }
  }
}

TEST(Panel16g32, UnpackReturnsEveryBit) {
  for (const Size& size : kSizes) {
    const MatrixData m = MatrixData::Random(size.rows, size.inputs, kSeed + 1);
    MatrixData back = m;
    std::fill(back.packed.begin(), back.packed.end(), 0);
    std::fill(back.scales.begin(), back.scales.end(), bf16{0});
    for (int64_t p = 0; p < PanelCount(size.rows); ++p) {
      alignas(64) static uint8_t out[1 << 17];
      PackPanel(m.view(), p, out);
      UnpackPanel(out, p, {back.packed.data(), {m.rows, m.inputs / 2}},
                  {back.scales.data(), {m.rows, m.inputs / 32}});
    }
    EXPECT_EQ(back.packed, m.packed);
    for (size_t i = 0; i < m.scales.size(); ++i) ASSERT_EQ(back.scales[i].bits, m.scales[i].bits);
  }
}

// Any size, any bits: against the description, and back.
TEST(Panel16g32, FuzzedPanelsAgreeWithTheDescription) {
  std::mt19937_64 random(kSeed);
  for (int i = 0; i < 300; ++i) {
    const auto rows = static_cast<int64_t>(1 + random() % 70);
    const auto inputs = static_cast<int64_t>(32 * (1 + random() % 12));
    const MatrixData m = MatrixData::Random(rows, inputs, random());
    MatrixData back = MatrixData::Random(rows, inputs, random());
    for (int64_t p = 0; p < PanelCount(rows); ++p) {
      alignas(64) static uint8_t out[1 << 13];
      PackPanel(m.view(), p, out);
      ASSERT_EQ(std::vector<uint8_t>(out, out + PanelBytes(inputs)), NaivePanel(m, p))
          << rows << " x " << inputs << ", panel " << p << ", case " << i;
      UnpackPanel(out, p, {back.packed.data(), {rows, inputs / 2}},
                  {back.scales.data(), {rows, inputs / 32}});
    }
    ASSERT_EQ(back.packed, m.packed) << rows << " x " << inputs;
    for (size_t k = 0; k < m.scales.size(); ++k) ASSERT_EQ(back.scales[k].bits, m.scales[k].bits);
  }
}

TEST(Panel16g32, SizesOfKimiK26) {
  const ExpertLayout layout = {7168, 2048};
  // 4.5 bits per weight, nothing wasted.
  EXPECT_EQ(layout.bytes(), int64_t{3} * 7168 * 2048 * 9 / 16);
  EXPECT_EQ(layout.up_panel(0), PanelBytes(7168));
  EXPECT_EQ(layout.gate_panel(1), 2 * PanelBytes(7168));
  EXPECT_EQ(layout.down_panel(0), 256 * PanelBytes(7168));
}

TEST(Panel16g32, PanelsStartOnCacheLines) {
  for (int64_t inputs : {32, 96, 1120}) EXPECT_EQ(PanelBytes(inputs) % 64, 0) << inputs;
}

}  // namespace
}  // namespace tandem::test
