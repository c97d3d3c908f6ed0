#include "gpu_attention/host/activations.h"

namespace tandem {
namespace {

// Below this, waking the team costs more than the rows.
constexpr int64_t kParallelElements = 1 << 15;

int32_t Groups(int64_t cols) {
  return static_cast<int32_t>((cols + kScaleGroup - 1) / kScaleGroup);
}

}  // namespace

absl::StatusOr<ActivationBuffer> ActivationBuffer::Allocate(int32_t tokens, int32_t cols) {
  ActivationBuffer b;
  b.tokens_ = tokens;
  b.cols_ = cols;
  const int64_t stride = RowStride(int64_t{Groups(cols)} * kScaleGroup, sizeof(int16_t));
  TANDEM_ASSIGN_OR_RETURN(b.values_, NumaBuffer::Allocate(tokens * stride * sizeof(int16_t)));
  TANDEM_ASSIGN_OR_RETURN(
      b.scales_, NumaBuffer::Allocate(tokens * RowStride(Groups(cols), 4) * sizeof(float)));
  return b;
}

LinearInput ActivationBuffer::Prepare(const DenseKernels& kernels, WeightFormat format,
                                      const View<const float, 2>& x, WorkerTeam* team) {
  LinearInput in;
  in.tokens = static_cast<int32_t>(x.dim(0));
  if (format != WeightFormat::kInt8) {
    in.x = x.data();
    in.x_stride = x.stride(0);
    return in;
  }
  TANDEM_CHECK(x.dim(0) <= tokens_ && x.dim(1) <= cols_, "rows fit the activation buffer");
  const int32_t groups = Groups(x.dim(1));
  in.xq = values_.as<int16_t>();
  in.xq_stride = RowStride(int64_t{groups} * kScaleGroup, sizeof(int16_t));
  in.scales = scales_.as<float>();
  in.scales_stride = RowStride(groups, sizeof(float));
  auto quantize = [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      kernels.quantize(x.row(t), static_cast<int32_t>(x.dim(1)),
                       values_.as<int16_t>() + t * in.xq_stride,
                       scales_.as<float>() + t * in.scales_stride);
    }
  };
  if (team == nullptr || x.size() < kParallelElements) {
    quantize(0, x.dim(0), 0);
  } else {
    team->ParallelFor(x.dim(0), 4, quantize);
  }
  return in;
}

}  // namespace tandem
