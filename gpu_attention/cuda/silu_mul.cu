// Thread = 4 neighbouring columns of a row, so that a warp reads 512 (F32) or 256 (BF16) bytes in a
// row; blocks along x share a row, blocks along y take the rows in turn.
#include "gpu_attention/cuda/silu_mul.h"

#include "gpu_attention/cuda/device.cuh"
#include "gpu_attention/cuda/launch.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kThreads = 128;
constexpr int kColumns = 4;  // of a thread

__device__ __forceinline__ float4 LoadFour(Global<const float> p) { return LoadAs<float4>(p); }
__device__ __forceinline__ float4 LoadFour(Global<const bf16> p) {
  const uint2 pairs = LoadAs<uint2>(p);
  return {LowToFloat(pairs.x), HighToFloat(pairs.x), LowToFloat(pairs.y), HighToFloat(pairs.y)};
}

__device__ __forceinline__ float Gated(float gate, float up) {
  return gate / (1.0f + expf(-gate)) * up;
}

template <class T>
__device__ __forceinline__ void GateRows(Global<const T> gate_up, const SiluMulArgs& args) {
  const int column = (blockIdx.x * kThreads + threadIdx.x) * kColumns;
  if (column >= args.width) return;
  for (int64_t row = blockIdx.y; row < args.rows; row += gridDim.y) {
    const Global<const T> in = gate_up + row * args.in_row + column;
    const float4 gate = LoadFour(in), up = LoadFour(in + args.width);
    const uint2 out = {PackBf16x2(Gated(gate.x, up.x), Gated(gate.y, up.y)),
                       PackBf16x2(Gated(gate.z, up.z), Gated(gate.w, up.w))};
    StoreAs(args.out + row * args.width + column, out);
  }
}

__global__ void __launch_bounds__(kThreads) SiluMulKernel(SiluMulArgs args) {
  if (args.gate_up_f32) {
    GateRows(args.gate_up_f32, args);
  } else {
    GateRows(args.gate_up_bf16, args);
  }
}

}  // namespace

void SiluMul(Stream& stream, const SiluMulArgs& args) {
  const uint32_t per_block = kThreads * kColumns;
  LaunchShape shape;
  shape.blocks_x = (args.width + per_block - 1) / per_block;
  shape.blocks_y = args.rows < 4096 ? args.rows : 4096;
  shape.threads = kThreads;
  Launch(stream, "SiluMul", SiluMulKernel, shape, args);
}

}  // namespace tandem::TANDEM_GPU
