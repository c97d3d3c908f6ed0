#include "gpu_attention/cuda/latent_write.h"

#include <algorithm>

#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/cuda/vectors.cuh"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kThreads = 128;  // times 4: one turn for a latent of 512

// One block per token.
__global__ void __launch_bounds__(kThreads) LatentWriteKernel(LatentWriteArgs a) {
  SharedArena arena;
  const Shared<float> scratch = arena.Take<float>(32);
  const int64_t token = blockIdx.x;
  const int64_t slot = a.slots[token];
  if (slot < 0) return;
  const int thread = static_cast<int>(threadIdx.x);
  const Global<const float> x = a.x + token * a.x_row;
  const Global<bf16> cached = a.cache + slot * (a.latent + a.rope);

  // The key.
  const int pairs = a.rope / 2;
  for (int i = thread; i < pairs; i += kThreads) {
    const float even = x[a.latent + 2 * i], odd = x[a.latent + 2 * i + 1];
    const float c = a.cos[token * pairs + i], s = a.sin[token * pairs + i];
    StoreAs(cached + (a.latent + 2 * i), PackBf16x2(even * c - odd * s, odd * c + even * s));
  }

  // The latent.
  float squares = 0;
  for (int i = thread * 4; i < a.latent; i += kThreads * 4)
    squares += SumOfSquares(LoadAs<float4>(x + i));
  const float factor = rsqrtf(BlockSum(squares, scratch) / static_cast<float>(a.latent) + a.eps);
  for (int i = thread * 4; i < a.latent; i += kThreads * 4) {
    const auto v = LoadAs<float4>(x + i), weight = LoadAs<float4>(a.weight + i);
    StoreAs(cached + i, PackBf16x4({weight.x * (v.x * factor), weight.y * (v.y * factor),
                                    weight.z * (v.z * factor), weight.w * (v.w * factor)}));
  }
}

}  // namespace

void LatentWrite(Stream& stream, const LatentWriteArgs& args) {
  TANDEM_CHECK(args.latent % 4 == 0 && args.rope % 4 == 0, "cached rows are made of fours");
  LatentWriteArgs a = args;
  if (a.x_row == 0) a.x_row = a.latent + a.rope;
  Launch(stream, "latent_write", LatentWriteKernel,
         {.blocks_x = static_cast<uint32_t>(a.tokens),
          .threads = kThreads,
          .shared_bytes = 32 * sizeof(float)},
         a);
}

}  // namespace tandem::TANDEM_GPU
