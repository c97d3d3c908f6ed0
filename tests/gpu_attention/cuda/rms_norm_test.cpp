#include "gpu_attention/cuda/rms_norm.h"

#include "gpu_attention/cuda/rms_norm_reference.h"
#include "tests/gpu_attention/cuda/gpu_test.h"
#include "tests/gpu_attention/cuda/worst_error.h"

namespace tandem::TANDEM_GPU {
namespace {

struct Shape {
  int32_t rows, dim;
  int64_t x_row, add_row, out_row;  // 0: contiguous
  float eps;
};
constexpr Shape kShapes[] = {
    {1, 4, 0, 0, 0, 1e-5f},         {1, 40, 0, 0, 0, 0.2f},    {3, 48, 112, 52, 64, 1e-6f},
    {5, 1536, 2112, 0, 0, 1e-5f},   {2, 2052, 0, 0, 0, 1e-5f}, {3, 7168, 0, 7172, 0, 1e-5f},
    {1, 12288, 12292, 0, 0, 1e-5f},
};

class RmsNormTest : public GpuTest {
 protected:
  static int64_t Stride(int64_t row, int32_t dim) { return row == 0 ? dim : row; }

  // Runs the rows `row_ids` (or all) of a tensor with some rows more, and compares x and out.
  void Check(const Shape& s, bool with_add, const std::vector<int32_t>& row_ids, bool with_out) {
    const int64_t x_row = Stride(s.x_row, s.dim), add_row = Stride(s.add_row, s.dim);
    const int64_t out_row = Stride(s.out_row, s.dim), all = s.rows + 2;
    std::vector<float> x = RandomFloats(all * x_row, 1, 3.0f);
    const std::vector<float> add = RandomFloats(all * add_row, 2), weight = RandomFloats(s.dim, 3);
    const DeviceTensor<float> device_x(x), device_add(add), device_weight(weight);
    const DeviceTensor<int32_t> device_ids(row_ids);
    const DeviceTensor<bf16> out(s.rows * out_row);
    RmsNormArgs args = {.rows = s.rows,
                        .dim = s.dim,
                        .eps = s.eps,
                        .x = device_x.data(),
                        .x_row = s.x_row,
                        .add_row = s.add_row,
                        .weight = device_weight.view(),
                        .out_row = s.out_row};
    if (with_add) args.add = device_add.view();
    if (!row_ids.empty()) args.row_ids = device_ids.view();
    if (with_out) args.out = out.data();
    RmsNorm(*stream_, args);

    const bf16 poison = {0xffff};
    std::vector<bf16> want(s.rows * out_row, poison);
    for (int32_t r = 0; r < s.rows; ++r) {
      const int64_t source = row_ids.empty() ? r : row_ids[r];
      RmsNormReference(s.dim, s.eps, x.data() + source * x_row,
                       with_add ? add.data() + source * add_row : nullptr, weight.data(),
                       want.data() + r * out_row);
    }
    EXPECT_EQ(device_x.Read(*stream_), x);  // one addition: exact; else untouched
    const std::vector<bf16> got = out.Read(*stream_);
    for (int64_t r = 0; r < s.rows; ++r) {
      const auto row = [&](const std::vector<bf16>& v, int64_t from, int64_t to) {
        return ToFloats({v.begin() + r * out_row + from, v.begin() + r * out_row + to});
      };
      if (with_out) {
        EXPECT_EQ(WorstError(row(got, 0, s.dim), row(want, 0, s.dim), kBf16Step, 1e-30f), "");
      }
      for (int64_t i = r * out_row + (with_out ? s.dim : 0); i < (r + 1) * out_row; ++i)
        ASSERT_EQ(got[i].bits, 0xffff) << "written at " << i;
    }
  }
};

TEST_F(RmsNormTest, Norms) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.dim);
    Check(s, false, {}, true);
  }
}

TEST_F(RmsNormTest, AddsFirst) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.dim);
    Check(s, true, {}, true);
  }
}

TEST_F(RmsNormTest, TakesChosenRows) {
  Check({3, 96, 0, 0, 0, 1e-6f}, false, {4, 0, 4}, true);
  Check({3, 96, 100, 0, 0, 1e-6f}, true, {4, 1, 0}, true);
}

TEST_F(RmsNormTest, OnlyAdds) { Check({2, 160, 0, 0, 0, 1e-6f}, true, {}, false); }

}  // namespace
}  // namespace tandem::TANDEM_GPU
