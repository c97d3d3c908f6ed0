#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/bf16.h"
#include "core/cpu_features.h"
#include "core/dtype.h"
#include "core/tensor.h"

namespace tandem {
namespace {

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(ToBf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(ToBf16(1.0f + 1.0f / 256).bits, 0x3f80) << "tie goes to even";
  EXPECT_EQ(ToBf16(1.0f + 3.0f / 256).bits, 0x3f82) << "tie goes to even";
  EXPECT_EQ(ToBf16(std::nextafter(1.0f + 1.0f / 256, 2.0f)).bits, 0x3f81);
  EXPECT_EQ(ToBf16(-0.0f).bits, 0x8000);
  EXPECT_TRUE(std::isinf(ToFloat(ToBf16(std::numeric_limits<float>::max()))));
  EXPECT_TRUE(std::isnan(ToFloat(ToBf16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Bf16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bf16 x{static_cast<uint16_t>(bits)};
    if (std::isnan(ToFloat(x))) continue;
    ASSERT_EQ(ToBf16(ToFloat(x)).bits, bits);
  }
}

TEST(DType, NamesAreTheSafetensorsNames) {
  for (DType dtype : {DType::kBf16, DType::kF16, DType::kF32, DType::kF64, DType::kI8, DType::kU8,
                      DType::kI16, DType::kI32, DType::kI64, DType::kF8E4M3, DType::kBool}) {
    EXPECT_EQ(ParseDType(Name(dtype)), dtype);
    EXPECT_GE(SizeBytes(dtype), 1);
  }
  EXPECT_EQ(Name(DType::kBf16), "BF16");
  EXPECT_EQ(SizeBytes(DType::kI64), 8);
  EXPECT_EQ(ParseDType("bf16"), std::nullopt);
}

TEST(View, IndexesSlicesAndStrides) {
  std::vector<int> data(24);
  for (int i = 0; i < 24; ++i) data[i] = i;
  const View<int, 3> v(data.data(), {2, 3, 4});
  EXPECT_EQ(v(1, 2, 3), 23);
  EXPECT_EQ(v[1](0, 2), 14);
  EXPECT_EQ(v[0][2][1], 9);
  EXPECT_EQ(v.Slice(1, 1)(0, 0, 0), 12);
  EXPECT_EQ(v.size(), 24);
  const View<int, 2> columns(data.data() + 2, {6, 2}, {4, 1});  // columns 2 and 3 of [6, 4]
  EXPECT_EQ(columns(5, 1), 23);
  const View<const int, 2> constant = columns;
  EXPECT_EQ(constant.row(1), data.data() + 6);
  EXPECT_TRUE((View<float, 2>().empty()));
}

TEST(CpuFeatures, WiderSetsImplyNarrowerOnes) {
  const CpuFeatures& f = DetectCpu();
  EXPECT_TRUE(!f.avx512 || f.avx2);
  EXPECT_TRUE(!f.avx512_vnni || f.avx512);
  EXPECT_TRUE(!f.avx512_bf16 || f.avx512);
  EXPECT_TRUE(!f.avx_vnni || f.avx2);
  EXPECT_FALSE(Describe(f).empty());
  EXPECT_EQ(Describe(CpuFeatures{}), "baseline");
  EXPECT_EQ(__builtin_cpu_supports("avx2") != 0, f.avx2);
  EXPECT_EQ(__builtin_cpu_supports("avx512vnni") != 0, f.avx512_vnni);
}

}  // namespace
}  // namespace tandem
