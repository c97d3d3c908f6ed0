#include "gpu_attention/cuda/rms_norm.h"

#include <algorithm>

#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/cuda/vectors.cuh"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kHeld = 6;  // vectors of four that a thread keeps: dim <= 4 * 6 * 512

// One block per row, which stays in registers between the sum and the scaling.
__global__ void __launch_bounds__(kMaxThreads) RmsNormKernel(RmsNormArgs a) {
  SharedArena arena;
  const Shared<float> scratch = arena.Take<float>(32);
  const int64_t row = blockIdx.x;
  const int64_t source = a.row_ids != nullptr ? int64_t{a.row_ids[row]} : row;
  const Global<float> x = a.x + source * a.x_row;
  const int vectors = a.dim / 4, threads = static_cast<int>(blockDim.x);

  // Load, add, square.
  float4 held[kHeld];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * threads;
    if (v >= vectors) continue;
    held[i] = LoadAs<float4>(x + 4 * v);
    if (a.add != nullptr) {
      const auto add = LoadAs<float4>(a.add + (source * a.add_row + 4 * v));
      held[i] = {held[i].x + add.x, held[i].y + add.y, held[i].z + add.z, held[i].w + add.w};
      StoreAs(x + 4 * v, held[i]);
    }
    squares += SumOfSquares(held[i]);
  }
  if (a.out == nullptr) return;

  // Scale, round.
  const float mean = BlockSum(squares, scratch) / static_cast<float>(a.dim);
  const float factor = rsqrtf(mean + a.eps);
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * threads;
    if (v >= vectors) continue;
    const auto weight = LoadAs<float4>(a.weight + 4 * v);
    StoreAs(a.out + (row * a.out_row + 4 * v),
            PackBf16x4({weight.x * (held[i].x * factor), weight.y * (held[i].y * factor),
                        weight.z * (held[i].z * factor), weight.w * (held[i].w * factor)}));
  }
}

}  // namespace

void RmsNorm(Stream& stream, const RmsNormArgs& args) {
  TANDEM_CHECK(args.dim % 4 == 0 && args.dim <= 4 * kHeld * kMaxThreads,
               "a norm's row is a multiple of 4 and fits into a block's registers");
  RmsNormArgs a = args;
  if (a.x_row == 0) a.x_row = a.dim;
  if (a.add_row == 0) a.add_row = a.dim;
  if (a.out_row == 0) a.out_row = a.dim;
  const int warps = std::min((a.dim / 4 + 31) / 32, kMaxThreads / 32);
  Launch(stream, "rms_norm", RmsNormKernel,
         {.blocks_x = static_cast<uint32_t>(a.rows),
          .threads = static_cast<uint32_t>(warps * 32),
          .shared_bytes = 32 * sizeof(float)},
         a);
}

}  // namespace tandem::TANDEM_GPU
