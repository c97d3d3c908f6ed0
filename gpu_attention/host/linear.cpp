#include "gpu_attention/host/linear.h"

#include <algorithm>

namespace tandem {
namespace {

// A piece of work should outlast its hand-out: about 10 us of memory traffic.
constexpr int64_t kPieceBytes = 128 << 10;

}  // namespace

void LinearPanelRange(const DenseKernels& kernels, const PackedMatrix& w, int32_t index,
                      int32_t first_panel, int32_t n_panels, const LinearInput& in, float* y,
                      int64_t y_stride) {
  const LinearArgs args = {
      .panels = w.panel(index, first_panel),
      .panel_bytes = w.panel_bytes(),
      .n_panels = n_panels,
      .cols = w.padded_cols(),
      .tokens = in.tokens,
      .x = in.x,
      .x_stride = in.x_stride,
      .xq = in.xq,
      .xq_stride = in.xq_stride,
      .xq_scales = in.scales,
      .xq_scales_stride = in.scales_stride,
      .y = y + int64_t{first_panel} * kDensePanelRows,
      .y_stride = y_stride,
  };
  switch (w.format()) {
    case WeightFormat::kBf16:
      return kernels.linear_bf16(args);
    case WeightFormat::kF32:
      return kernels.linear_f32(args);
    case WeightFormat::kInt8:
      return kernels.linear_int8(args);
  }
}

void Linear(const DenseKernels& kernels, const PackedMatrix& w, const LinearInput& in,
            WorkerTeam& team, View<float, 2> y) {
  TANDEM_CHECK(y.dim(1) >= w.padded_rows() && y.dim(0) >= in.tokens, "outputs have room");
  const int64_t grain =
      std::max<int64_t>(1, kPieceBytes / w.panel_bytes() / std::max(1, in.tokens));
  team.ParallelFor(w.panels(), grain, [&](int64_t begin, int64_t end, int) {
    LinearPanelRange(kernels, w, 0, static_cast<int32_t>(begin), static_cast<int32_t>(end - begin),
                     in, y.data(), y.stride(0));
  });
}

}  // namespace tandem
