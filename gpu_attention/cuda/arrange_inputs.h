// Rows of activations in the order in which the lanes of the expert kernels take them.
//
// A lane of these kernels decodes, per weight row and group of 32 inputs, one 32-bit word: the
// inputs 4t..4t+3 and 16+4t..16+4t+3, t = lane % 4. So "arranged" means that of each group of 32
// elements the 16-byte chunk t holds these eight, in the order in which masking takes the nibbles
// out of the word:  4t, 4t+2, 4t+1, 4t+3, 16+4t, 16+4t+2, 16+4t+1, 16+4t+3.
//
// Bytes: 4 per element, memory bound; at 2,048 tokens of 7168 it moves 59 MB, once per layer.
#pragma once

#include "core/bf16.h"
#include "gpu_attention/cuda/launch.h"

namespace tandem {

// Where element i of a row goes in the arranged row (a multiple of 32 elements long).
constexpr int32_t ArrangedIndex(int32_t i) {
  const int32_t in_half = i % 16, chunk = in_half / 4, in_four = in_half % 4;
  return i / 32 * 32 + chunk * 8 + i % 32 / 16 * 4 + in_four % 2 * 2 + in_four / 2;
}

namespace TANDEM_GPU {

struct ArrangeInputsArgs {
  int32_t tokens = 0;
  int32_t hidden = 0;     // multiple of 32
  Global<const bf16> x;   // [tokens, hidden]; 16-byte aligned
  Global<bf16> arranged;  // [tokens, hidden]; 16-byte aligned, not x
};
void ArrangeInputs(Stream& stream, const ArrangeInputsArgs& args);

}  // namespace TANDEM_GPU
}  // namespace tandem
