#include "tests/gpu_attention/cuda/primitives.h"

#include "gpu_attention/cuda/device.cuh"
#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/cuda/mma.cuh"

namespace tandem::TANDEM_GPU {
namespace {

__device__ __forceinline__ uint32_t Pair(bf16 low, bf16 high) {
  return low.bits | static_cast<uint32_t>(high.bits) << 16;
}

__global__ void MmaKernel(MmaArgs args) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  uint32_t a[4], b[2];
  for (int i = 0; i < 4; ++i) {
    const Global<const bf16> at = args.a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
    a[i] = Pair(at[0], at[1]);
  }
  for (int i = 0; i < 2; ++i) {
    const Global<const bf16> at = args.b + (2 * t + 8 * i) * 8 + g;
    b[i] = Pair(at[0], at[8]);
  }
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = args.d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  Mma16816(d, a, b);
  for (int i = 0; i < 4; ++i) args.d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

__global__ void LoadMatrixKernel(LoadMatrixArgs args) {
  SharedArena arena;
  const Shared<bf16> matrices = arena.Take<bf16>(4 * 64);
  for (int i = threadIdx.x; i < 4 * 64; i += 32) matrices[i] = args.in[i];
  __syncthreads();
  uint32_t r[4];
  LoadMatrix4(r, matrices + threadIdx.x * 8);
  for (int i = 0; i < 4; ++i) args.out[threadIdx.x * 4 + i] = r[i];
  LoadMatrix4Transposed(r, matrices + threadIdx.x * 8);
  for (int i = 0; i < 4; ++i) args.out[(32 + threadIdx.x) * 4 + i] = r[i];
}

__global__ void LaneKernel(LaneArgs args) {
  const int lane = threadIdx.x;
  const float mine = args.in[lane];
  for (int i = 0; i < 5; ++i) args.exchanged[i * 32 + lane] = ShuffleXor(mine, 1 << i);
  args.rotated[lane] = Shuffle(mine, (lane + 5) % 32);
  args.negative[lane] = Ballot(mine < 0);
  args.sum[lane] = WarpSum(mine);
  args.max[lane] = WarpMax(mine);
}

__global__ void BlockSumKernel(BlockSumArgs args) {
  SharedArena arena;
  const Shared<float> scratch = arena.Take<float>(32);
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const float once = BlockSum(args.in[at], scratch);
  args.twice[at] = once + BlockSum(args.in[at], scratch);
}

constexpr int kStages = 4;

__global__ void PipelineKernel(PipelineArgs args) {
  SharedArena arena;
  const Shared<float> ring = arena.Take<float>(kStages * 128);
  const int thread = threadIdx.x;
  auto begin = [&](int step) {
    const bool valid = step < args.valid;
    if (step < args.steps) {
      CopyAsync16(ring + step % kStages * 128 + thread * 4,
                  args.in + (valid ? step * 128 + thread * 4 : 0), valid);
    }
    CopyAsyncCommit();
  };
  for (int step = 0; step < kStages - 1; ++step) begin(step);
  for (int step = 0; step < args.steps; ++step) {
    CopyAsyncWait<kStages - 2>();
    __syncthreads();
    begin(step + kStages - 1);
    for (int i = 0; i < 4; ++i) {
      const int column = i * 32 + 31 - thread;
      args.out[step * 128 + column] = ring[step % kStages * 128 + column];
    }
  }
  CopyAsyncWait<0>();
}

__global__ void AtomicKernel(AtomicArgs args) {
  const int32_t number = blockIdx.x * blockDim.x + threadIdx.x;
  AtomicAdd(args.sum, number);
  AtomicAdd(args.float_sum, 0.5f);
  AtomicMax(args.max, (number * 7919) % 10007);
  const uint32_t ticket = AtomicAdd(args.next, 1u);
  AtomicAdd(args.tickets + ticket, 1u);
}

__global__ void ShapeKernel(ShapeArgs args) {
  const uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  args.out[block * blockDim.x + threadIdx.x] =
      threadIdx.x + 1000 * (blockIdx.x + 100 * blockIdx.y + 10000 * blockIdx.z);
}

__global__ void RoundKernel(RoundArgs args) {
  const int lane = threadIdx.x;
  args.packed[lane] = PackBf16x2(args.in[2 * lane], args.in[2 * lane + 1]);
  args.rounded[lane] = RoundToBf16(args.in[lane]);
  args.rounded[lane + 32] = RoundToBf16(args.in[lane + 32]);
}

__global__ void AddKernel(AddArgs args) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < args.count) args.values[i] += args.addend;
}

__global__ void SignalKernel(SignalArgs args) {
  if (threadIdx.x == 0) {
    const uint64_t begin = NanoTime();
    while (args.flag && LoadAcquireSystem(args.flag) != args.expected) {
      if (NanoTime() - begin > 20000000000u) {
        args.gave_up[0] = 1;
        break;
      }
      SpinPause();
    }
  }
  __syncthreads();
  if (threadIdx.x == 32) {
    if (args.answer) args.answer[0] = args.payload[0] + 1;
    FenceSystem();
    if (args.reply) StoreReleaseSystem(args.reply, args.expected);
  }
}

}  // namespace

void MmaOnce(Stream& stream, const MmaArgs& args) { Launch(stream, "Mma", MmaKernel, {}, args); }
void LoadMatrices(Stream& stream, const LoadMatrixArgs& args) {
  Launch(stream, "LoadMatrix", LoadMatrixKernel, {.shared_bytes = 512}, args);
}
void ExchangeLanes(Stream& stream, const LaneArgs& args) {
  Launch(stream, "Lane", LaneKernel, {}, args);
}
void SumBlocks(Stream& stream, const BlockSumArgs& args) {
  Launch(stream, "BlockSum", BlockSumKernel,
         {.blocks_x = args.blocks, .threads = args.threads, .shared_bytes = 128}, args);
}
void CopyThroughPipeline(Stream& stream, const PipelineArgs& args) {
  Launch(stream, "Pipeline", PipelineKernel, {.shared_bytes = kStages * 512}, args);
}
void CountAtomically(Stream& stream, const AtomicArgs& args) {
  Launch(stream, "Atomic", AtomicKernel, {.blocks_x = args.blocks, .threads = 64}, args);
}
void WriteIndices(Stream& stream, const ShapeArgs& args, uint32_t x, uint32_t y, uint32_t z,
                  uint32_t threads) {
  Launch(stream, "Shape", ShapeKernel,
         {.blocks_x = x, .blocks_y = y, .blocks_z = z, .threads = threads}, args);
}
void RoundPairs(Stream& stream, const RoundArgs& args) {
  Launch(stream, "Round", RoundKernel, {}, args);
}
void AddTo(Stream& stream, const AddArgs& args) {
  Launch(stream, "Add", AddKernel,
         {.blocks_x = static_cast<uint32_t>(args.count + 127) / 128, .threads = 128}, args);
}
void WaitAndReply(Stream& stream, const SignalArgs& args) {
  Launch(stream, "Signal", SignalKernel, {.threads = 64}, args);
}

}  // namespace tandem::TANDEM_GPU
