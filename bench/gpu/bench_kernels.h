// Kernels that benches need around what they time: data, and plain reading.
#pragma once

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// out[i] uniform in [-scale, scale). REQUIRES: count a multiple of 8, out 16-byte aligned.
struct FillArgs {
  int64_t count = 0;
  float scale = 1;
  uint32_t seed = 1;
  Global<bf16> out = nullptr;
};
void FillRandom(Stream& stream, const FillArgs& args);

// The same in F32; count a multiple of 4.
struct FillFloatsArgs {
  int64_t count = 0;
  float scale = 1;
  uint32_t seed = 1;
  Global<float> out = nullptr;
};
void FillRandomFloats(Stream& stream, const FillFloatsArgs& args);

// Reads everything once, 16 bytes a thread and load: what device memory delivers.
struct ReadArgs {
  int64_t words = 0;  // multiple of 4
  Global<const uint32_t> in = nullptr;
  Global<uint32_t> sink = nullptr;  // [1] practically never written
};
void ReadAll(Stream& stream, const ReadArgs& args, int32_t multiprocessors);

}  // namespace tandem::TANDEM_GPU
