#include "gpu_attention/cuda/silu_mul.h"

#include <cmath>

#include "gpu_attention/cuda/silu_mul_reference.h"
#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

struct Shape {
  int32_t rows, width, in_row;
};
constexpr Shape kShapes[] = {
    {1, 4, 8}, {3, 128, 256}, {2, 512, 1040}, {5, 516, 1032}, {8, 2048, 4096}};

class SiluMulTest : public GpuTest {
 protected:
  // One rounding to bf16 may fall the other way: half a step, plus the F32 arithmetic.
  void Compare(const Shape& shape, const std::vector<float>& gate_up,
               const std::vector<bf16>& out) {
    std::vector<bf16> want(int64_t{shape.rows} * shape.width);
    SiluMulReference(gate_up.data(), shape.rows, shape.width, shape.in_row, want.data());
    ASSERT_EQ(out.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      const float expected = ToFloat(want[i]);
      ASSERT_NEAR(ToFloat(out[i]), expected, std::fabs(expected) / 128 + 1e-36)
          << shape.rows << " x " << shape.width << " at " << i;
    }
  }
};

TEST_F(SiluMulTest, FromF32) {
  for (const Shape& shape : kShapes) {
    std::vector<float> gate_up = RandomFloats(int64_t{shape.rows} * shape.in_row, 1, 4.0f);
    gate_up[0] = -100.0f, gate_up[1] = 100.0f, gate_up[2] = 0.0f, gate_up[3] = -86.5f;
    const DeviceTensor<float> in(gate_up);
    const DeviceTensor<bf16> out(int64_t{shape.rows} * shape.width);
    SiluMul(*stream_, {.gate_up_f32 = in.data(),
                       .out = out.data(),
                       .rows = shape.rows,
                       .width = shape.width,
                       .in_row = shape.in_row});
    Compare(shape, gate_up, out.Read(*stream_));
  }
}

TEST_F(SiluMulTest, FromBf16) {
  for (const Shape& shape : kShapes) {
    const std::vector<bf16> gate_up =
        ToBf16s(RandomFloats(int64_t{shape.rows} * shape.in_row, 2, 4.0f));
    const DeviceTensor<bf16> in(gate_up);
    const DeviceTensor<bf16> out(int64_t{shape.rows} * shape.width);
    SiluMul(*stream_, {.gate_up_bf16 = in.data(),
                       .out = out.data(),
                       .rows = shape.rows,
                       .width = shape.width,
                       .in_row = shape.in_row});
    Compare(shape, ToFloats(gate_up), out.Read(*stream_));
  }
}

TEST_F(SiluMulTest, NoRowsDoNothing) {
  const DeviceTensor<bf16> out(8);
  SiluMul(*stream_, {.out = out.data(), .rows = 0, .width = 8, .in_row = 16});
  for (const bf16 value : out.Read(*stream_)) EXPECT_EQ(value.bits, 0xffff);
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
