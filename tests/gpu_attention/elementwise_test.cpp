#include <cmath>

#include "tests/gpu_attention/kernels_under_test.h"

namespace tandem {
namespace {

class ElementwiseTest : public KernelTest {};
TANDEM_TEST_ALL_KERNELS(ElementwiseTest);

constexpr int32_t kSizes[] = {1, 7, 16, 33, 64, 96, 130, 1000};

TEST_P(ElementwiseTest, RmsNorm) {
  for (int32_t n : kSizes) {
    const std::vector<float> x = RandomFloats(n, 1, 3.0f), weight = RandomFloats(n, 2);
    std::vector<float> y(n + 1, 7.0f);
    kernels().rms_norm(x.data(), weight.data(), n, 1e-5f, y.data());
    double squares = 0;
    for (float v : x) squares += double{v} * v;
    for (int32_t i = 0; i < n; ++i) {
      const double want = weight[i] * (x[i] / std::sqrt(squares / n + 1e-5));
      ASSERT_NEAR(y[i], want, std::fabs(want) * 2e-6) << n << " at " << i;
    }
    EXPECT_EQ(y[n], 7.0f);
  }
}

TEST_P(ElementwiseTest, SiluMulFromFarNegativeToFarPositive) {
  for (int32_t n : kSizes) {
    std::vector<float> gate = RandomFloats(n, 3, 30.0f);
    if (n > 4) gate[1] = -300.0f, gate[2] = 300.0f, gate[3] = 0.0f, gate[4] = -86.5f;
    const std::vector<float> up = RandomFloats(n, 4);
    std::vector<float> y(n + 1, 7.0f);
    kernels().silu_mul(gate.data(), up.data(), n, y.data());
    for (int32_t i = 0; i < n; ++i) {
      const double want = double{gate[i]} / (1 + std::exp(-double{gate[i]})) * up[i];
      ASSERT_NEAR(y[i], want, std::fabs(want) * 1e-6 + 1e-34) << "gate " << gate[i];
    }
    EXPECT_EQ(y[n], 7.0f);
  }
}

TEST_P(ElementwiseTest, QuantizeRoundsToHalfAStepAndPadsWithZero) {
  for (int32_t n : kSizes) {
    std::vector<float> x = RandomFloats(n, 5, 2.0f);
    if (n >= 2 * kScaleGroup) std::fill_n(x.begin() + kScaleGroup, kScaleGroup, 0.0f);
    const int32_t groups = (n + kScaleGroup - 1) / kScaleGroup;
    std::vector<int16_t> q(groups * kScaleGroup + 1, 77);
    std::vector<float> scales(groups);
    kernels().quantize(x.data(), n, q.data(), scales.data());
    for (int32_t i = 0; i < n; ++i) {
      const float scale = scales[i / kScaleGroup];
      // x / scale is up to 32767, where F32 itself is 2^-9 coarse.
      ASSERT_NEAR(q[i] * double{scale}, x[i], scale * 0.505) << n << " at " << i;
    }
    for (int32_t i = n; i < groups * kScaleGroup; ++i) ASSERT_EQ(q[i], 0);
    EXPECT_EQ(q[groups * kScaleGroup], 77);
  }
}

}  // namespace
}  // namespace tandem
