// BF16 matrix products on the device, F32 sums: cuBLAS on a GPU, plain loops under emulation.
#pragma once

#include <cstdint>
#include <memory>

#include "core/bf16.h"
#include "core/status.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// For b in [0, batch):  y[b] = x[b] w[b]^T (+ y[b] if `accumulate`), all row-major.
// Exactly one of y_f32 and y_bf16 is set.
struct LinearArgs {
  int32_t rows = 0;                // of x and y
  int32_t outputs = 0;             // rows of w
  int32_t inputs = 0;              // columns of x
  Global<const bf16> x = nullptr;  // [batch][rows, inputs]
  Global<const bf16> w =
      nullptr;  // [batch][outputs, inputs]; [batch][inputs, outputs] if w_transposed
  Global<float> y_f32 = nullptr;  // [batch][rows, outputs]
  Global<bf16> y_bf16 = nullptr;
  bool w_transposed = false;
  bool accumulate = false;
  // Elements from row to row, and from one product of the batch to the next. 0: contiguous.
  int64_t x_row = 0, w_row = 0, y_row = 0;
  int32_t batch = 1;
  int64_t x_batch = 0, w_batch = 0, y_batch = 0;
};

// One per stream: owns the library's handle and workspace.
class Gemm {
 public:
  static absl::StatusOr<Gemm> Create(Stream& stream);
  Gemm(Gemm&&) noexcept;
  Gemm& operator=(Gemm&&) noexcept;
  ~Gemm();

  // Puts the product into the stream. May be recorded into a graph.
  void Linear(const LinearArgs& args);

  struct Impl;

 private:
  explicit Gemm(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem::TANDEM_GPU
