// Kernels that do one thing each, so that what device.cuh and mma.cuh promise can be tested, on a
// GPU and under emulation.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

struct MmaArgs {
  Global<const bf16> a;  // [16, 16]
  Global<const bf16> b;  // [16, 8]
  Global<float> d;       // [16, 8], added to
};
// One Mma16816 with fragments put together by hand.
void MmaOnce(Stream& stream, const MmaArgs& args);

struct LoadMatrixArgs {
  Global<const bf16> in;  // [4, 8, 8]
  Global<uint32_t> out;   // [32 lanes, 4], then the same transposed
};
void LoadMatrices(Stream& stream, const LoadMatrixArgs& args);

struct LaneArgs {
  Global<const float> in;     // [32]
  Global<float> exchanged;    // [5 masks 1 2 4 8 16, 32]
  Global<float> rotated;      // [32], each from the lane 5 above
  Global<uint32_t> negative;  // [32]: Ballot(in < 0)
  Global<float> sum, max;     // [32]
};
void ExchangeLanes(Stream& stream, const LaneArgs& args);

struct BlockSumArgs {
  Global<const float> in;  // [blocks, threads]
  Global<float> twice;     // [blocks, threads]: the sum, added up twice in a row
  uint32_t blocks, threads;
};
void SumBlocks(Stream& stream, const BlockSumArgs& args);

struct PipelineArgs {
  Global<const float> in;  // [steps, 128]
  Global<float> out;       // [steps, 128]; zeros where step is not below `valid`
  int32_t steps, valid;
};
// Copies through shared memory by CopyAsync16, three groups in flight, and reads what other threads
// copied.
void CopyThroughPipeline(Stream& stream, const PipelineArgs& args);

struct AtomicArgs {
  Global<int32_t> sum;
  Global<uint32_t> tickets;  // [blocks * 64]: each ticket is drawn once
  Global<uint32_t> next;
  Global<float> float_sum;
  Global<int32_t> max;
  uint32_t blocks;
};
void CountAtomically(Stream& stream, const AtomicArgs& args);

struct ShapeArgs {
  Global<uint32_t> out;  // [z, y, x, threads]: threadIdx.x + 1000 * (x + 100 * y + 10000 * z)
};
void WriteIndices(Stream& stream, const ShapeArgs& args, uint32_t x, uint32_t y, uint32_t z,
                  uint32_t threads);

struct RoundArgs {
  Global<const float> in;   // [64]
  Global<uint32_t> packed;  // [32]
  Global<bf16> rounded;     // [64]
};
void RoundPairs(Stream& stream, const RoundArgs& args);

struct AddArgs {
  Global<int32_t> values;  // [count]
  int32_t count, addend;
};
void AddTo(Stream& stream, const AddArgs& args);

struct SignalArgs {
  Global<const uint32_t> flag;  // waited for until it is `expected`; null: no wait
  uint32_t expected;
  Global<const int32_t> payload;  // read behind the wait
  Global<int32_t> answer;         // payload + 1, written before the reply
  Global<uint32_t> reply;         // set to `expected`; null: none
  Global<uint32_t> gave_up;       // set to 1 after 20 s without the flag
};
void WaitAndReply(Stream& stream, const SignalArgs& args);

}  // namespace tandem::TANDEM_GPU
