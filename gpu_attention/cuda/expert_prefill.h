// One routed expert over many tokens, weights resident or just streamed to the GPU.
//
//   y[rows[i],:] += weights[i] * down(h[i,:]),  h[i,:] = bf16(silu(gate x) * (up x)),  x =
//   x[rows[i]] weight = bf16((nibble - 8) * scale);  sums in F32
//
// The rows of one call are distinct and calls follow one another in the stream, so plain additions
// do and the result is always the same. A call with m = 0 does nothing. The order of sums changes
// at m = 128: above, an output is one chain over its inputs in ascending groups.
//
// Two kernels, gate-up and down; 6 * hidden * width * m operations, 45 G for K2.6 at m = 512.
// Bound: up to m of about 150 the expert's 24.8 MB, read once per 32 rows (from L2 after the first)
// and decoded each time, about 10 us per 32 rows on an H100. Above, tensor cores: at m = 512
// gate-up is 128 tiles of 128 x 128 on 132 multiprocessors, down 224, two rounds: 91,800 + 52,400
// cycles at the rate of mma.sync, 82 us, 55 % of the dense rate; whole rounds of tiles make it 60
// %.
#pragma once

#include "core/bf16.h"
#include "gpu_attention/cuda/expert_weights.h"
#include "gpu_attention/cuda/launch.h"

namespace tandem::TANDEM_GPU {

struct ExpertPrefillArgs {
  int32_t m = 0;  // rows of this expert, from 0 to thousands
  ExpertCuts cuts;
  Global<const uint8_t> expert;  // its bytes, 64-byte aligned
  Global<const int32_t> rows;    // [m] distinct tokens
  Global<const float> weights;   // [m]
  Global<const bf16> x;          // [tokens, hidden] arranged (arrange_inputs.h), 16-byte aligned
  Global<bf16> h;                // workspace [m, width], 16-byte aligned
  Global<float> y;               // [tokens, hidden], added to; 16-byte aligned
};
void ExpertPrefill(Stream& stream, const ExpertPrefillArgs& args);

}  // namespace tandem::TANDEM_GPU
