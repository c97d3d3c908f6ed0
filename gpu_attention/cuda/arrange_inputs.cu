// Thread = one 16-byte chunk: 8-byte reads of which a warp covers whole lines, 16-byte writes.
#include "gpu_attention/cuda/arrange_inputs.cuh"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) ArrangeKernel(ArrangeInputsArgs args) {
  const int64_t row = blockIdx.y * int64_t{args.hidden};
  const int32_t chunk = blockIdx.x * kThreads + threadIdx.x;
  if (chunk < args.hidden / 8) ArrangeChunk(args.x + row, args.arranged + row, chunk);
}

}  // namespace

void ArrangeInputs(Stream& stream, const ArrangeInputsArgs& args) {
  TANDEM_CHECK(args.hidden % 32 == 0, "rows are arranged in groups of 32");
  constexpr int32_t kMostRows = 65535;  // of a grid's second dimension
  ArrangeInputsArgs part = args;
  for (int32_t first = 0; first < args.tokens; first += kMostRows) {
    part.tokens = args.tokens - first < kMostRows ? args.tokens - first : kMostRows;
    part.x = args.x + first * int64_t{args.hidden};
    part.arranged = args.arranged + first * int64_t{args.hidden};
    Launch(stream, "arrange inputs", ArrangeKernel,
           {.blocks_x = static_cast<uint32_t>((args.hidden / 8 + kThreads - 1) / kThreads),
            .blocks_y = static_cast<uint32_t>(part.tokens),
            .threads = kThreads},
           part);
  }
}

}  // namespace tandem::TANDEM_GPU
