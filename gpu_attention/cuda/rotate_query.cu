#include "gpu_attention/cuda/rotate_query.h"

#include "gpu_attention/cuda/device.cuh"
#include "gpu_attention/cuda/launch.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kThreads = 256;

// One pair per thread; blocks_x: tokens, blocks_y: pieces of a token's pairs.
__global__ void __launch_bounds__(kThreads) RotateQueryKernel(RotateQueryArgs a) {
  const int64_t token = blockIdx.x;
  const int pairs = a.rope / 2;
  const int at = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  const int head = at / pairs, i = at % pairs;
  if (head >= a.heads) return;
  const float c = a.cos[token * pairs + i], s = a.sin[token * pairs + i];
  const auto from = LoadAs<uint32_t>(a.from + (token * a.from_token + head * a.from_head + 2 * i));
  const float even = LowToFloat(from), odd = HighToFloat(from);
  StoreAs(a.to + (token * a.to_token + head * a.to_head + 2 * i),
          PackBf16x2(even * c - odd * s, odd * c + even * s));
}

}  // namespace

void RotateQuery(Stream& stream, const RotateQueryArgs& args) {
  const uint32_t pairs = static_cast<uint32_t>(args.heads * (args.rope / 2));
  Launch(stream, "rotate_query", RotateQueryKernel,
         {.blocks_x = static_cast<uint32_t>(args.tokens),
          .blocks_y = (pairs + kThreads - 1) / kThreads,
          .threads = kThreads},
         args);
}

}  // namespace tandem::TANDEM_GPU
