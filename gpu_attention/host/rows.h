// Matrices of F32 rows that live from step to step, and loops over their rows.
#pragma once

#include <cstdint>

#include "core/memory.h"
#include "core/status.h"
#include "core/tensor.h"
#include "core/worker_team.h"
#include "gpu_attention/host/activations.h"

namespace tandem {

// Owned rows, each starting on a cache line. Memory is touched only where rows are used.
class RowBuffer {
 public:
  RowBuffer() = default;
  static absl::StatusOr<RowBuffer> Allocate(int64_t rows, int64_t cols) {
    RowBuffer b;
    b.stride_ = RowStride(cols, sizeof(float));
    TANDEM_ASSIGN_OR_RETURN(b.memory_, NumaBuffer::Allocate(rows * b.stride_ * sizeof(float)));
    return b;
  }
  float* row(int64_t i) const { return memory_.as<float>() + i * stride_; }
  int64_t stride() const { return stride_; }
  // The first `rows` rows, `cols` columns from `first_col` on.
  View<float, 2> Rows(int64_t rows, int64_t cols, int64_t first_col = 0) const {
    return {memory_.as<float>() + first_col, {rows, cols}, {stride_, 1}};
  }

 private:
  int64_t stride_ = 0;
  NumaBuffer memory_;
};

// body(row) for rows [0, rows), over the team if the rows are worth waking it.
template <class Body>
void ForRows(WorkerTeam& team, int64_t rows, int64_t cols, Body&& body) {
  constexpr int64_t kWorthWaking = 1 << 15;  // elements; about 5 us of work
  auto piece = [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) body(row);
  };
  if (rows * cols < kWorthWaking) return piece(0, rows, 0);
  team.ParallelFor(rows, 4, piece);
}

// h += y, row by row.
inline void AddRows(WorkerTeam& team, const View<const float, 2>& y, const View<float, 2>& h) {
  ForRows(team, h.dim(0), h.dim(1), [&](int64_t t) {
    const float* from = y.row(t);
    float* to = h.row(t);
    for (int64_t i = 0; i < h.dim(1); ++i) to[i] += from[i];
  });
}

}  // namespace tandem
