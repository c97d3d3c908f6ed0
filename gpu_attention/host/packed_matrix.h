// A weight matrix (or a stack of equal ones, say one per head) in the layout the kernels read.
//
// Panels of 32 output rows; missing rows and inputs are zero. Inside a panel:
//   BF16: for each pair of inputs, 32 rows x 2 BF16
//   F32:  for each input, 32 rows x 1 float
//   INT8: for each group of 128 inputs, 32 BF16 scales, then for each pair, 32 rows x 2 INT8;
//         w = q * scale, |q| <= 127, scale = max |w| / 127 rounded up to BF16.
// Why 128 inputs share a scale: scales then cost 1.6 % of the bytes and folding a group's sum 4 %
// of the work. Groups of 64 double both and lower the error only from 0.61 % to 0.55 % of the
// weights' deviation (normal weights).
#pragma once

#include <cstdint>
#include <string_view>

#include "core/bf16.h"
#include "core/memory.h"
#include "core/status.h"
#include "core/tensor.h"
#include "core/worker_team.h"
#include "gpu_attention/host/dense_kernels.h"

namespace tandem {

enum class WeightFormat { kBf16, kF32, kInt8 };

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Zeroed memory for `count` matrices of [rows, cols].
  static absl::StatusOr<PackedMatrix> Allocate(WeightFormat format, int32_t rows, int32_t cols,
                                               int32_t count = 1);

  // Converts `source` into rows [first_row, first_row + source rows) of matrix `index`, over the
  // team or, if that is null, on the calling thread. Several sources may share a panel, one after
  // the other. The source may have any strides, so a transposed view works.
  void Pack(const View<const bf16, 2>& source, int32_t index, int32_t first_row, WorkerTeam* team);
  void Pack(const View<const float, 2>& source, int32_t index, int32_t first_row, WorkerTeam* team);

  WeightFormat format() const { return format_; }
  int32_t rows() const { return rows_; }
  int32_t cols() const { return cols_; }
  int32_t padded_rows() const { return panels_ * kDensePanelRows; }
  int32_t padded_cols() const { return padded_cols_; }
  int32_t panels() const { return panels_; }  // of one matrix
  int32_t count() const { return count_; }
  int64_t panel_bytes() const { return panel_bytes_; }
  const std::byte* panel(int32_t index, int32_t panel) const {
    return buffer_.data() + (int64_t{index} * panels_ + panel) * panel_bytes_;
  }
  int64_t size_bytes() const { return panel_bytes_ * panels_ * count_; }
  bool empty() const { return count_ == 0; }

 private:
  template <class T>
  void PackRows(const View<const T, 2>& source, int32_t index, int32_t first_row, WorkerTeam* team);
  template <class T>
  void PackPanel(const View<const T, 2>& source, int32_t index, int32_t first_row, int32_t panel);

  WeightFormat format_ = WeightFormat::kBf16;
  int32_t rows_ = 0, cols_ = 0, padded_cols_ = 0, panels_ = 0, count_ = 0;
  int64_t panel_bytes_ = 0;
  NumaBuffer buffer_;
};

}  // namespace tandem
