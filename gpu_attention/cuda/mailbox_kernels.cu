#include "gpu_attention/cuda/mailbox_kernels.h"

#include <algorithm>

#include "gpu_attention/cuda/device.cuh"
#include "gpu_attention/cuda/launch.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kThreads = 256;

// Enough blocks to fill a bus, few enough to leave the GPU to others.
uint32_t BlocksFor(int64_t items) {
  return static_cast<uint32_t>(std::clamp<int64_t>((items + kThreads - 1) / kThreads, 1, 64));
}

__global__ void PublishKernel(PublishArgs a) {
  const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = first; i < a.hidden_elems / 8; i += stride)
    StoreAs<uint4>(a.to_hidden + 8 * i, LoadAs<uint4>(a.hidden + 8 * i));
  for (int64_t i = first; i < a.choices; i += stride) {
    a.to_expert_ids[i] = a.expert_ids[i];
    a.to_weights[i] = a.weights[i];
  }
  // The block that arrives last rings for all: its fence covers what it has seen of the others.
  __syncthreads();
  if (threadIdx.x != 0) return;
  FenceSystem();
  if (AtomicAdd(a.arrived, 1) != static_cast<int32_t>(gridDim.x) - 1) return;
  a.arrived[0] = 0;
  FenceSystem();
  StoreReleaseSystem(a.bell, a.step[0]);
}

__global__ void AwaitKernel(AwaitAnswerArgs a) {
  if (threadIdx.x != 0) return;
  const uint32_t step = a.step[0];
  const uint64_t begin = NanoTime();
  while (LoadAcquireSystem(a.bell) != step) {
    if (LoadAcquireSystem(a.abandoned) != 0 || LoadAcquireSystem(a.stuck) != 0) return;
    if (NanoTime() - begin > a.timeout_ns) {
      StoreReleaseSystem(a.stuck, a.code);
      return;
    }
    SpinPause();
  }
}

__global__ void AddRowsKernel(AddRowsArgs a) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < a.elems / 4; i += stride) {
    float4 h = LoadAs<float4>(a.h + 4 * i);
    const float4 y = LoadAs<float4>(a.answer + 4 * i);
    h.x += y.x, h.y += y.y, h.z += y.z, h.w += y.w;
    if (a.own) {
      const float4 own = LoadAs<float4>(a.own + 4 * i);
      h.x += own.x, h.y += own.y, h.z += own.z, h.w += own.w;
    }
    StoreAs<float4>(a.h + 4 * i, h);
  }
}

}  // namespace

void PublishRows(Stream& stream, const PublishArgs& args) {
  Launch(stream, "publish_rows", PublishKernel,
         {.blocks_x = BlocksFor(args.hidden_elems / 8), .threads = kThreads}, args);
}

void AwaitAnswer(Stream& stream, const AwaitAnswerArgs& args) {
  Launch(stream, "await_answer", AwaitKernel, {.threads = 32}, args);
}

void AddRows(Stream& stream, const AddRowsArgs& args) {
  Launch(stream, "add_rows", AddRowsKernel,
         {.blocks_x = BlocksFor(args.elems / 4), .threads = kThreads}, args);
}

}  // namespace tandem::TANDEM_GPU
