// What the kernels of routed experts are held to (hot_experts.h, expert_prefill.h): plain loops
// over host memory, double sums.
#pragma once

#include <cstdint>
#include <vector>

#include "core/bf16.h"
#include "gpu_attention/cuda/expert_weights.h"

namespace tandem {

// An expert's weights as bf16 numbers, bf16((nibble - 8) * scale), row by row.
struct DecodedExpert {
  int64_t hidden = 0, width = 0;
  std::vector<float> gate, up;  // [width, hidden]
  std::vector<float> down;      // [hidden, width]
};
DecodedExpert DecodeExpert(const ExpertCuts& cuts, const uint8_t* expert);

// y[o] += weight * out[o],  out = down(h),  h = bf16(silu(gate x) * (up x)).
// bound[o] grows by how far |weight * out[o]| may be off: F32 sums, and one h rounded the other
// way.
void AddExpertReference(const DecodedExpert& expert, const bf16* x, double weight,
                        double* y,       // [hidden]
                        double* bound);  // [hidden]

}  // namespace tandem
