#include "gpu_attention/cuda/embedding.h"

#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/cuda/vectors.cuh"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kThreads = 256;

// One block per token, eight elements per thread and turn.
__global__ void __launch_bounds__(kThreads) EmbeddingKernel(EmbeddingArgs a) {
  const int64_t token = blockIdx.x;
  const Global<const bf16> from = a.table + int64_t{a.ids[token]} * a.hidden;
  const Global<float> to = a.h + token * a.hidden;
  for (int i = threadIdx.x * 8; i < a.hidden; i += kThreads * 8) {
    const uint4 v = LoadAs<uint4>(from + i);
    StoreAs(to + i, float4{LowToFloat(v.x), HighToFloat(v.x), LowToFloat(v.y), HighToFloat(v.y)});
    StoreAs(to + (i + 4),
            float4{LowToFloat(v.z), HighToFloat(v.z), LowToFloat(v.w), HighToFloat(v.w)});
  }
}

}  // namespace

void Embedding(Stream& stream, const EmbeddingArgs& args) {
  Launch(stream, "embedding", EmbeddingKernel,
         {.blocks_x = static_cast<uint32_t>(args.tokens), .threads = kThreads}, args);
}

}  // namespace tandem::TANDEM_GPU
