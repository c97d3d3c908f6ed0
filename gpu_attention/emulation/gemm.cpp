// Matrix products of the emulated GPU: plain loops, in tiles that the compiler vectorises.
#include "gpu_attention/cuda/gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "gpu_attention/emulation/block_pool.h"
#include "gpu_attention/emulation/stream_impl.h"

namespace tandem::emulated {
namespace {

constexpr int64_t kOutputs = 16;  // of a tile
constexpr int64_t kRows = 4;
constexpr int64_t kDepth = 256;  // inputs that a panel of weights holds at a time

using Floats8 [[gnu::vector_size(32)]] = float;
static_assert(kOutputs == 16);

// Plain pointers and no zero strides.
struct Product {
  int64_t rows, outputs, inputs;
  const bf16 *x, *w;
  float* y_f32;
  bf16* y_bf16;
  bool w_transposed, accumulate;
  int64_t x_row, w_row, y_row, batch, x_batch, w_batch, y_batch;
};

// Elements from the first to behind the last of `batch` matrices.
int64_t Extent(int64_t rows, int64_t columns, int64_t row, int64_t batch, int64_t stride) {
  return (batch - 1) * stride + (rows - 1) * row + columns;
}

Product Resolve(const LinearArgs& a) {
  Product p = {a.rows,  a.outputs,      a.inputs,     nullptr,  nullptr, nullptr,
               nullptr, a.w_transposed, a.accumulate, a.x_row,  a.w_row, a.y_row,
               a.batch, a.x_batch,      a.w_batch,    a.y_batch};
  const int64_t w_rows = a.w_transposed ? p.inputs : p.outputs;
  const int64_t w_columns = a.w_transposed ? p.outputs : p.inputs;
  if (p.x_row == 0) p.x_row = p.inputs;
  if (p.w_row == 0) p.w_row = w_columns;
  if (p.y_row == 0) p.y_row = p.outputs;
  if (p.x_batch == 0) p.x_batch = p.rows * p.x_row;
  if (p.w_batch == 0) p.w_batch = w_rows * p.w_row;
  if (p.y_batch == 0) p.y_batch = p.rows * p.y_row;
  p.x = RawPointer(a.x, Extent(p.rows, p.inputs, p.x_row, p.batch, p.x_batch));
  p.w = RawPointer(a.w, Extent(w_rows, w_columns, p.w_row, p.batch, p.w_batch));
  const int64_t y = Extent(p.rows, p.outputs, p.y_row, p.batch, p.y_batch);
  if (a.y_f32) {
    p.y_f32 = RawPointer(a.y_f32, y);
  } else {
    p.y_bf16 = RawPointer(a.y_bf16, y);
  }
  return p;
}

// panel[i][o] = w[first_output + o][first_input + i]
void FillPanel(const Product& p, const bf16* w, int64_t first_output, int64_t outputs,
               int64_t first_input, int64_t inputs, float (*panel)[kOutputs]) {
  const int64_t out_step = p.w_transposed ? 1 : p.w_row, in_step = p.w_transposed ? p.w_row : 1;
  w += first_output * out_step + first_input * in_step;
  for (int64_t o = 0; o < kOutputs; ++o) {
    for (int64_t i = 0; i < inputs; ++i) {
      panel[i][o] = o < outputs ? ToFloat(w[o * out_step + i * in_step]) : 0.0f;
    }
  }
}

// sums[r][o] += x[r][:] . panel[:][o]
template <int64_t kCount>
[[gnu::always_inline]] inline void AddTileBody(const bf16* x, int64_t x_row, int64_t inputs,
                                               const float (*panel)[kOutputs],
                                               float (*sums)[kOutputs]) {
  Floats8 tile[kCount][2];
  std::memcpy(tile, sums, sizeof(tile));
  for (int64_t i = 0; i < inputs; ++i) {
    Floats8 w[2];
    std::memcpy(w, panel[i], sizeof(w));
    for (int64_t r = 0; r < kCount; ++r) {
      const float value = ToFloat(x[r * x_row + i]);
      tile[r][0] += value * w[0];
      tile[r][1] += value * w[1];
    }
  }
  std::memcpy(sums, tile, sizeof(tile));
}
template <int64_t kCount>
void AddTile(const bf16* x, int64_t x_row, int64_t inputs, const float (*panel)[kOutputs],
             float (*sums)[kOutputs]) {
  AddTileBody<kCount>(x, x_row, inputs, panel, sums);
}
template <int64_t kCount>
[[gnu::target("avx2")]] void AddTileAvx2(const bf16* x, int64_t x_row, int64_t inputs,
                                         const float (*panel)[kOutputs], float (*sums)[kOutputs]) {
  AddTileBody<kCount>(x, x_row, inputs, panel, sums);
}

// All rows.
void AddTiles(const bf16* x, int64_t x_row, int64_t rows, int64_t inputs,
              const float (*panel)[kOutputs], float (*sums)[kOutputs]) {
  static const bool kAvx2 = __builtin_cpu_supports("avx2");
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    (kAvx2 ? AddTileAvx2<kRows> : AddTile<kRows>)(x + r * x_row, x_row, inputs, panel, sums + r);
  }
  for (; r < rows; ++r) {
    (kAvx2 ? AddTileAvx2<1> : AddTile<1>)(x + r * x_row, x_row, inputs, panel, sums + r);
  }
}

void Store(const Product& p, int64_t at, float sum) {
  if (p.y_f32 != nullptr) {
    p.y_f32[at] = p.accumulate ? p.y_f32[at] + sum : sum;
  } else {
    p.y_bf16[at] = ToBf16(p.accumulate ? ToFloat(p.y_bf16[at]) + sum : sum);
  }
}

// Up to kOutputs columns of y[b], from first_output on.
void MultiplyColumns(const Product& p, int64_t b, int64_t first_output) {
  const bf16* x = p.x + b * p.x_batch;
  const int64_t outputs = std::min(kOutputs, p.outputs - first_output);
  std::vector<float> panel_memory(kDepth * kOutputs), sum_memory(p.rows * kOutputs);
  auto* panel = reinterpret_cast<float(*)[kOutputs]>(panel_memory.data());
  auto* sums = reinterpret_cast<float(*)[kOutputs]>(sum_memory.data());
  for (int64_t in = 0; in < p.inputs; in += kDepth) {
    const int64_t inputs = std::min(kDepth, p.inputs - in);
    FillPanel(p, p.w + b * p.w_batch, first_output, outputs, in, inputs, panel);
    AddTiles(x + in, p.x_row, p.rows, inputs, panel, sums);
  }
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t o = 0; o < outputs; ++o) {
      Store(p, b * p.y_batch + r * p.y_row + first_output + o, sums[r][o]);
    }
  }
}

}  // namespace

struct Gemm::Impl {
  Stream::Impl* stream;
};

Gemm::Gemm(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Gemm::Gemm(Gemm&&) noexcept = default;
Gemm& Gemm::operator=(Gemm&&) noexcept = default;
Gemm::~Gemm() = default;

absl::StatusOr<Gemm> Gemm::Create(Stream& stream) {
  return Gemm(std::make_unique<Impl>(Impl{stream.impl()}));
}

void Gemm::Linear(const LinearArgs& args) {
  TANDEM_CHECK(static_cast<bool>(args.y_f32) != static_cast<bool>(args.y_bf16),
               "a product has one output");
  if (args.rows == 0 || args.outputs == 0 || args.batch == 0) return;
  impl_->stream->Put([p = Resolve(args)] {
    const int64_t tiles = (p.outputs + kOutputs - 1) / kOutputs;
    RunShared(tiles * p.batch,
              [&](int64_t i) { MultiplyColumns(p, i / tiles, i % tiles * kOutputs); });
    return absl::OkStatus();
  });
}

}  // namespace tandem::emulated
