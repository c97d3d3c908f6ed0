#include "gpu_attention/cuda/gemm.h"

#include <cmath>
#include <optional>

#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

struct Case {
  int32_t rows, outputs, inputs;
  int32_t batch = 1;
  bool w_transposed = false, accumulate = false, bf16_out = false;
  int64_t x_gap = 0, w_gap = 0, y_gap = 0;  // elements between the rows
  bool interleaved = false;  // the batch is an inner dimension of x and y, as heads are of tokens
};
constexpr Case kCases[] = {
    {1, 1, 1},
    {1, 64, 128},
    {5, 17, 100},
    {33, 40, 300},
    {3, 48, 520, 1, true},
    {4, 24, 64, 3},
    {4, 24, 64, 3, true},
    {2, 16, 32, 1, false, true},
    {7, 16, 32, 1, false, false, true},
    {2, 16, 40, 2, true, true, true},
    {6, 20, 24, 1, false, false, false, 8, 16, 12},
    {6, 20, 24, 2, true, true, false, 8, 16, 12},
    {5, 16, 32, 4, false, false, false, 0, 0, 0, true},
    {5, 16, 32, 4, true, false, true, 0, 0, 0, true},
};

class GemmTest : public GpuTest {};

TEST_F(GemmTest, AllVariants) {
  Gemm gemm = Gemm::Create(*stream_).value();
  uint32_t seed = 1;
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.rows << " x " << c.outputs << " x " << c.inputs
                                    << " batch " << c.batch << " case " << seed);
    LinearArgs args;
    args.rows = c.rows, args.outputs = c.outputs, args.inputs = c.inputs, args.batch = c.batch;
    args.w_transposed = c.w_transposed, args.accumulate = c.accumulate;
    const int64_t w_rows = c.w_transposed ? c.inputs : c.outputs;
    const int64_t w_columns = c.w_transposed ? c.outputs : c.inputs;
    const int64_t inner = c.interleaved ? c.batch : 1;
    const int64_t x_row = c.inputs * inner + c.x_gap, y_row = c.outputs * inner + c.y_gap;
    const int64_t w_row = w_columns + c.w_gap;
    const int64_t x_batch = c.interleaved ? c.inputs : c.rows * x_row;
    const int64_t y_batch = c.interleaved ? c.outputs : c.rows * y_row;
    const int64_t w_batch = w_rows * w_row;
    if (c.interleaved || c.x_gap != 0) args.x_row = x_row, args.y_row = y_row, args.w_row = w_row;
    if (c.interleaved) args.x_batch = x_batch, args.y_batch = y_batch;

    const int64_t outer = c.interleaved ? 1 : c.batch;
    const std::vector<bf16> x = ToBf16s(RandomFloats(outer * c.rows * x_row, ++seed));
    const std::vector<bf16> w = ToBf16s(RandomFloats(c.batch * w_batch, ++seed));
    const std::vector<float> y0 = ToFloats(ToBf16s(RandomFloats(outer * c.rows * y_row, ++seed)));
    const DeviceTensor<bf16> dx(x), dw(w), y_bf16(ToBf16s(y0));
    const DeviceTensor<float> y_f32(y0);
    args.x = dx.data(), args.w = dw.data();
    if (c.bf16_out) {
      args.y_bf16 = y_bf16.data();
    } else {
      args.y_f32 = y_f32.data();
    }
    gemm.Linear(args);
    const std::vector<float> got =
        c.bf16_out ? ToFloats(y_bf16.Read(*stream_)) : y_f32.Read(*stream_);

    std::vector<bool> written(got.size());
    for (int64_t b = 0; b < c.batch; ++b) {
      for (int64_t r = 0; r < c.rows; ++r) {
        for (int64_t o = 0; o < c.outputs; ++o) {
          const int64_t at = b * y_batch + r * y_row + o;
          double want = c.accumulate ? y0[at] : 0, size = std::fabs(want);
          for (int64_t i = 0; i < c.inputs; ++i) {
            const double product =
                double{ToFloat(x[b * x_batch + r * x_row + i])} *
                ToFloat(w[b * w_batch + (c.w_transposed ? i * w_row + o : o * w_row + i)]);
            want += product;
            size += std::fabs(product);
          }
          const double tolerance = size * 1e-6 + (c.bf16_out ? std::fabs(want) / 256 : 0);
          ASSERT_NEAR(got[at], want, tolerance) << b << ", " << r << ", " << o;
          written[at] = true;
        }
      }
    }
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(written[i] || got[i] == y0[i]) << "written between the rows, at " << i;
    }
  }
}

TEST_F(GemmTest, RecordsIntoAGraph) {
  Gemm gemm = Gemm::Create(*stream_).value();
  const DeviceTensor<bf16> x(ToBf16s({1, 2, 3, 4})), w(ToBf16s({1, 10, 100, 1000}));
  const DeviceTensor<float> y(std::vector<float>{0.5f, 0.5f});
  LinearArgs args;
  args.rows = 2, args.outputs = 1, args.inputs = 2;
  args.x = x.data(), args.w = w.data(), args.y_f32 = y.data(), args.accumulate = true;
  const auto graph = Graph::Record(*stream_, [&](Stream&) { gemm.Linear(args); });
  ASSERT_TRUE(graph.ok()) << graph.status();
  graph->Launch(*stream_);
  graph->Launch(*stream_);
  EXPECT_EQ(y.Read(*stream_), (std::vector<float>{42.5f, 86.5f}));
}

TEST_F(GemmTest, NothingToDo) {
  Gemm gemm = Gemm::Create(*stream_).value();
  const DeviceTensor<float> y(std::vector<float>{7});
  LinearArgs args;
  args.rows = 0, args.outputs = 1, args.inputs = 1, args.y_f32 = y.data();
  gemm.Linear(args);
  EXPECT_EQ(y.Read(*stream_), (std::vector<float>{7}));
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
