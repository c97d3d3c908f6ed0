#include "gpu_attention/host/linear.h"

#include <cmath>
#include <cstring>

#include "tests/gpu_attention/kernels_under_test.h"

namespace tandem {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::kBf16, WeightFormat::kF32, WeightFormat::kInt8};
const char* Name(WeightFormat f) {
  return f == WeightFormat::kBf16 ? "bf16" : f == WeightFormat::kF32 ? "f32" : "int8";
}

struct Shape {
  int32_t rows, cols;
};
// One row; odd tails of rows and groups; more than one K block of every format; one exact fit.
constexpr Shape kShapes[] = {{1, 2}, {33, 96}, {64, 128}, {40, 130}, {70, 1200}, {96, 512}};
constexpr int32_t kTokenCounts[] = {1, 2, 3, 4, 6, 7, 12, 13, 31};

struct Case {
  PackedMatrix packed;
  std::vector<float> w;
  std::vector<float> x;
  int32_t rows = 0, cols = 0, tokens = 0;
};

Case MakeCase(WeightFormat format, Shape shape, int32_t tokens) {
  Case c;
  c.rows = shape.rows;
  c.cols = shape.cols;
  c.tokens = tokens;
  c.w = RandomFloats(size_t(shape.rows) * shape.cols, 1);
  if (format == WeightFormat::kBf16)
    for (float& v : c.w) v = ToFloat(ToBf16(v));
  c.x = RandomFloats(size_t(tokens) * shape.cols, 2);
  c.packed = *PackedMatrix::Allocate(format, shape.rows, shape.cols);
  c.packed.Pack(View<const float, 2>(c.w.data(), {shape.rows, shape.cols}), 0, 0, nullptr);
  return c;
}

constexpr float kPoison = 12345.0f;

// Outputs of tokens [first, first + n), with one guard column behind the padded rows.
std::vector<float> Compute(const DenseKernels& kernels, const Case& c, int32_t first, int32_t n) {
  ActivationBuffer buffer = *ActivationBuffer::Allocate(n, c.cols);
  const View<const float, 2> x(c.x.data() + size_t(first) * c.cols, {n, c.cols});
  const int32_t stride = c.packed.padded_rows() + 1;
  std::vector<float> y(size_t(n) * stride, kPoison);
  LinearPanelRange(kernels, c.packed, 0, 0, c.packed.panels(),
                   buffer.Prepare(kernels, c.packed.format(), x, nullptr), y.data(), stride);
  for (int32_t t = 0; t < n; ++t) EXPECT_EQ(y[size_t(t) * stride + stride - 1], kPoison);
  return y;
}

// Largest possible error of an output: of the format's weights, of the INT16 activations, and of
// adding in F32; sums of absolute values times the relative roundings.
double Bound(WeightFormat format, const Case& c, int32_t row, int32_t token) {
  double products = 0, weight_error = 0;
  for (int32_t g = 0; g < c.cols; g += kScaleGroup) {
    const int32_t end = std::min(c.cols, g + kScaleGroup);
    double max_w = 0, max_x = 0, sum_w = 0, sum_x = 0;
    for (int32_t k = g; k < end; ++k) {
      const double w = std::fabs(c.w[size_t(row) * c.cols + k]);
      const double x = std::fabs(c.x[size_t(token) * c.cols + k]);
      max_w = std::max(max_w, w), max_x = std::max(max_x, x);
      sum_w += w, sum_x += x;
      products += w * x;
    }
    // Half a step: of a scale that is up to 1/128 above max / 127, and of max / 32767.
    weight_error += 0.51 * max_w / 126 * sum_x + 0.51 * max_x / 32766 * (sum_w + max_w);
  }
  return products * 1e-6 + (format == WeightFormat::kInt8 ? weight_error : 0.0) + 1e-30;
}

class LinearTest : public KernelTest {};
TANDEM_TEST_ALL_KERNELS(LinearTest);

TEST_P(LinearTest, AgreesWithDoubleSums) {
  for (WeightFormat format : kFormats) {
    for (Shape shape : kShapes) {
      const Case c = MakeCase(format, shape, 7);
      const std::vector<float> y = Compute(kernels(), c, 0, c.tokens);
      for (int32_t t = 0; t < c.tokens; ++t) {
        for (int32_t r = 0; r < c.rows; ++r) {
          double want = 0;
          for (int32_t k = 0; k < c.cols; ++k)
            want += double{c.w[size_t(r) * c.cols + k]} * c.x[size_t(t) * c.cols + k];
          const float got = y[size_t(t) * (c.packed.padded_rows() + 1) + r];
          ASSERT_NEAR(got, want, Bound(format, c, r, t))
              << Name(format) << " [" << c.rows << ", " << c.cols << "] row " << r << " token "
              << t;
        }
      }
    }
  }
}

TEST_P(LinearTest, EveryTokenCountGivesTheBitsOfTheScalarKernelForOneToken) {
  for (WeightFormat format : kFormats) {
    for (Shape shape : kShapes) {
      const Case c = MakeCase(format, shape, 31);
      const int32_t stride = c.packed.padded_rows() + 1;
      std::vector<float> single;
      for (int32_t t = 0; t < c.tokens; ++t) {
        const std::vector<float> row = Compute(kDenseTableScalar, c, t, 1);
        single.insert(single.end(), row.begin(), row.end());
      }
      for (int32_t tokens : kTokenCounts) {
        const std::vector<float> y = Compute(kernels(), c, 0, tokens);
        ASSERT_EQ(std::memcmp(y.data(), single.data(), size_t(tokens) * stride * 4), 0)
            << Name(format) << " [" << c.rows << ", " << c.cols << "] " << tokens << " tokens";
      }
    }
  }
}

TEST(PackedMatrix, TransposedAndOffsetSourcesLandWhereTheyBelong) {
  constexpr int32_t kRows = 50, kCols = 34;
  const std::vector<bf16> w = RandomBf16(kRows * kCols, 5);
  std::vector<bf16> transposed(w.size());
  for (int32_t r = 0; r < kRows; ++r)
    for (int32_t k = 0; k < kCols; ++k) transposed[k * kRows + r] = w[r * kCols + k];
  const View<const bf16, 2> plain(w.data(), {kRows, kCols});
  const View<const bf16, 2> turned(transposed.data(), {kRows, kCols}, {1, kRows});
  for (WeightFormat format : kFormats) {
    PackedMatrix a = *PackedMatrix::Allocate(format, kRows, kCols, 2);
    PackedMatrix b = *PackedMatrix::Allocate(format, kRows, kCols, 2);
    a.Pack(plain, 1, 0, nullptr);
    WorkerTeam team({.workers = 3});
    b.Pack(turned.Slice(0, 19), 1, 0, &team);  // a cut inside a panel
    b.Pack(turned.Slice(19, kRows - 19), 1, 19, &team);
    EXPECT_EQ(std::memcmp(a.panel(0, 0), b.panel(0, 0), a.size_bytes()), 0) << Name(format);
    bool any = false;
    for (int64_t i = 0; i < a.panel_bytes(); ++i) any |= a.panel(1, 0)[i] != std::byte{0};
    EXPECT_TRUE(any);
  }
}

TEST(Linear, TeamsOfAnySizeGiveTheSameBits) {
  const Case c = MakeCase(WeightFormat::kInt8, {330, 260}, 5);
  const DenseKernels& kernels = **ChooseDenseKernels("");
  ActivationBuffer buffer = *ActivationBuffer::Allocate(c.tokens, c.cols);
  const View<const float, 2> x(c.x.data(), {c.tokens, c.cols});
  std::vector<float> want;
  for (int workers : {1, 2, 3}) {
    WorkerTeam team({.workers = workers});
    std::vector<float> y(size_t(c.tokens) * c.packed.padded_rows(), kPoison);
    Linear(kernels, c.packed, buffer.Prepare(kernels, c.packed.format(), x, &team), team,
           View<float, 2>(y.data(), {c.tokens, c.packed.padded_rows()}));
    if (want.empty()) want = y;
    EXPECT_EQ(y, want) << workers << " workers";
  }
}

TEST(KernelChoice, UnknownNamesAreErrorsAndKnownOnesAreTaken) {
  EXPECT_EQ(ChooseDenseKernels("abacus").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_STREQ((*ChooseDenseKernels("scalar"))->name, "scalar");
  setenv("TANDEM_DENSE_KERNEL", "scalar", 1);
  EXPECT_STREQ((*ChooseDenseKernels(""))->name, "scalar");
  setenv("TANDEM_DENSE_KERNEL", "abacus", 1);
  EXPECT_FALSE(ChooseDenseKernels("").ok());
  unsetenv("TANDEM_DENSE_KERNEL");
}

TEST(KernelChoice, SelfCheckCatchesAWrongKernel) {
  DenseKernels wrong = kDenseTableScalar;
  wrong.linear_int8 = [](const LinearArgs& a) {
    kDenseTableScalar.linear_int8(a);
    a.y[3] = std::nextafter(a.y[3], 1e9f);
  };
  EXPECT_EQ(SelfCheck(wrong).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(SelfCheck(kDenseTableSimde).ok());
}

}  // namespace
}  // namespace tandem
