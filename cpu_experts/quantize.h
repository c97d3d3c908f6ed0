// BF16 weights to INT4 with groups of 32 inputs, by the rule of compressed-tensors: for checkpoints
// that hold their experts in BF16.
#pragma once

#include <cstdint>
#include <vector>

#include "core/bf16.h"
#include "core/tensor.h"
#include "cpu_experts/experts.h"

namespace tandem {

// Owns what an Int4Matrix points to.
struct Int4Storage {
  std::vector<uint8_t> packed;
  std::vector<bf16> scales;
  int64_t rows = 0, inputs = 0;

  Int4Matrix matrix() const {
    return {{packed.data(), {rows, inputs / 2}}, {scales.data(), {rows, inputs / 32}}};
  }
};

// Per group: scale = bf16(max|w| / 7.5); q = clamp(round_half_even(bf16(w / scale)), -8, 7).
// A group of zeros gets the scale 2^-7. `weights` is [out, in], in a multiple of 32.
// Thread-safe.
Int4Storage QuantizeInt4(View<const bf16, 2> weights);

// The same into memory that the caller owns (and reuses): packed [out, in / 2], scales
// [out, in / 32].
void QuantizeInt4(View<const bf16, 2> weights, View<uint8_t, 2> packed, View<bf16, 2> scales);

}  // namespace tandem
