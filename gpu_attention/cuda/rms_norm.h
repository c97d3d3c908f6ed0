// Root-mean-square norm, after an optional residual addition:
//   x[s, :] += add[s, :]                                               if `add` is set
//   out[r, :] = bf16(x[s, :] / sqrt(mean(x[s, :]^2) + eps) * weight)   s = row_ids[r], or r
//
// Bytes per row: dim * (4 + 2), and with `add` another dim * (4 + 4). One block per row; a row's
// bits do not depend on the other rows. With few rows the bound is latency: two trips to memory.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// REQUIRES: dim and all row strides multiples of 4, dim <= 12,288; 16-byte aligned pointers; with
// `add`, no row twice among row_ids.
struct RmsNormArgs {
  int32_t rows = 0;
  int32_t dim = 0;
  float eps = 0;
  Global<float> x = nullptr;          // rows of dim; written only with `add`
  int64_t x_row = 0;                  // elements from row to row; 0: dim
  Global<const float> add = nullptr;  // null: nothing to add
  int64_t add_row = 0;                // 0: dim
  // [rows] which rows of x (and add) to take; null: 0, 1, 2, ...
  Global<const int32_t> row_ids = nullptr;
  Global<const float> weight = nullptr;  // [dim]
  Global<bf16> out = nullptr;            // [rows, dim]; null: only the addition
  int64_t out_row = 0;                   // 0: dim
};

void RmsNorm(Stream& stream, const RmsNormArgs& args);

}  // namespace tandem::TANDEM_GPU
