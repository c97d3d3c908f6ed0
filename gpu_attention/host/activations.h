// The input rows of a linear layer, in the form its weights ask for: F32 rows as they are for BF16
// and F32 weights; INT16 with a scale per 128 inputs for INT8 weights (15 bits and sign, so the
// rounding is 1/65,534 of a group's largest value, far below that of the weights).
#pragma once

#include <cstdint>

#include "core/memory.h"
#include "core/status.h"
#include "core/tensor.h"
#include "core/worker_team.h"
#include "gpu_attention/host/dense_kernels.h"
#include "gpu_attention/host/packed_matrix.h"

namespace tandem {

// Distance between rows such that a row starts on a cache line and consecutive rows fall into
// different cache sets even when n is a power of two.
constexpr int64_t RowStride(int64_t n, int64_t element_bytes) {
  const int64_t line = 64 / element_bytes;
  const int64_t lines = (n + line - 1) / line;
  return (lines % 2 == 0 ? lines + 1 : lines) * line;
}

// Rows ready for a linear kernel. Does not own.
struct LinearInput {
  const float* x = nullptr;  // [tokens, cols]
  int64_t x_stride = 0;
  const int16_t* xq = nullptr;
  int64_t xq_stride = 0;
  const float* scales = nullptr;
  int64_t scales_stride = 0;
  int32_t tokens = 0;
};

// Memory for quantised rows, reused from layer to layer. One thread prepares at a time.
class ActivationBuffer {
 public:
  // Room for `tokens` rows of up to `cols` inputs.
  static absl::StatusOr<ActivationBuffer> Allocate(int32_t tokens, int32_t cols);

  // The input that weights of `format` want for rows x. The result stays valid until the next call
  // and as long as x. REQUIRES: an odd number of columns is followed by one zero.
  LinearInput Prepare(const DenseKernels& kernels, WeightFormat format,
                      const View<const float, 2>& x, WorkerTeam* team);

 private:
  int32_t tokens_ = 0, cols_ = 0;
  NumaBuffer values_, scales_;
};

}  // namespace tandem
