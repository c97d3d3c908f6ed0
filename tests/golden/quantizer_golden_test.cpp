// Our quantiser against compressed-tensors' own quantise and pack functions, bit for bit.
#include <gtest/gtest.h>

#include "cpu_experts/quantize.h"
#include "tests/golden/golden_file.h"

namespace tandem::golden {
namespace {

class QuantizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(QuantizerGolden, SameBits) {
  const auto file = GoldenFile::Open(DataPath("quantizer.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string name = GetParam();
  const auto weights = file->Values<bf16>(name + ".weight");
  const int64_t rows = file->Dim(name + ".weight", 0), inputs = file->Dim(name + ".weight", 1);
  const Int4Storage got = QuantizeInt4({weights.data(), {rows, inputs}});

  const auto scales = file->Values<bf16>(name + ".scale");
  ASSERT_EQ(got.scales.size(), scales.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    EXPECT_EQ(got.scales[i].bits, scales[i].bits)
        << "scale of group " << i << ": got " << ToFloat(got.scales[i]) << ", library "
        << ToFloat(scales[i]);
  }
  const auto packed = file->Values<uint8_t>(name + ".packed");
  ASSERT_EQ(got.packed.size(), packed.size());
  for (size_t i = 0; i < packed.size(); ++i) {
    EXPECT_EQ(int{got.packed[i]}, int{packed[i]})
        << "inputs " << 2 * i << " and " << 2 * i + 1 << ": " << ToFloat(weights[2 * i]) << ", "
        << ToFloat(weights[2 * i + 1]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantizerGolden,
                         testing::Values("gaussian", "one_group", "special", "halves",
                                         "magnitudes"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tandem::golden
