#include "gpu_attention/cuda/mla_decode_merge.h"

#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/cuda/softmax.cuh"
#include "gpu_attention/cuda/vectors.cuh"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kMergeThreads = 512 / 4;

// blocks_x: heads, blocks_y: rows; four columns per thread.
__global__ void __launch_bounds__(kMergeThreads) MlaDecodeMergeKernel(MlaDecodeArgs a) {
  const int64_t row = blockIdx.y, head = blockIdx.x;
  const int column = static_cast<int>(threadIdx.x) * 4;
  if (column >= a.latent) return;
  const int64_t first = row * a.n_splits * a.heads + head;
  float max = kMinusInfinity;
  for (int i = 0; i < a.n_splits; ++i) max = fmaxf(max, a.lse[first + int64_t{i} * a.heads]);
  float4 sum = {0, 0, 0, 0};
  float total = 0;
#pragma unroll 4
  for (int i = 0; i < a.n_splits; ++i) {
    const int64_t at = first + int64_t{i} * a.heads;
    if (a.lse[at] == kMinusInfinity) continue;  // an empty split has written nothing else
    const float weight = exp2f(a.lse[at] - max);
    const auto part = LoadAs<float4>(a.partial + (at * a.latent + column));
    total += weight;
    sum = {sum.x + weight * part.x, sum.y + weight * part.y, sum.z + weight * part.z,
           sum.w + weight * part.w};
  }
  const float factor = total > 0 ? 1.0f / total : 0.0f;
  StoreAs(a.out + ((row * a.heads + head) * a.latent + column),
          PackBf16x4({sum.x * factor, sum.y * factor, sum.z * factor, sum.w * factor}));
}

}  // namespace

void MlaDecodeMerge(Stream& stream, const MlaDecodeArgs& args) {
  Launch(stream, "mla_decode_merge", MlaDecodeMergeKernel,
         {.blocks_x = static_cast<uint32_t>(args.heads),
          .blocks_y = static_cast<uint32_t>(args.rows),
          .threads = kMergeThreads},
         args);
}

}  // namespace tandem::TANDEM_GPU
