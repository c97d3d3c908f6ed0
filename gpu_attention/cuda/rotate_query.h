// Rotates the position-dependent part of the queries: for each token t, head h and pair i < rope/2
//   to[2i], to[2i+1] = from[2i] c - from[2i+1] s, from[2i+1] c + from[2i] s,   c, s = cos, sin[t,
//   i]
//
// q is the output of the q_b (or q) projection, [tokens, heads, nope + rope].
//   Decode (absorbed) form: from = q + nope, to = query + latent, the tail of what MlaDecode reads;
//     the head of query, q_nope times W_uk, is written by a batched product (gemm.h).
//   Prefill form: from = to = q + nope, in place.
//
// Bytes: 4 per element, 0.5 MB for 32 tokens at K2.6's width.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// REQUIRES: rope even, strides even, pointers 4-byte aligned.
struct RotateQueryArgs {
  int32_t tokens = 0;
  int32_t heads = 0;
  int32_t rope = 0;
  Global<const bf16> from = nullptr;      // [tokens][heads][rope]
  int64_t from_token = 0, from_head = 0;  // elements from token to token and from head to head
  Global<bf16> to = nullptr;              // may be `from`
  int64_t to_token = 0, to_head = 0;
  Global<const float> cos = nullptr;  // [tokens, rope / 2]
  Global<const float> sin = nullptr;
};

void RotateQuery(Stream& stream, const RotateQueryArgs& args);

}  // namespace tandem::TANDEM_GPU
