// Puts tokens into one layer's latent cache. From a token's row of the kv_a projection, [latent |
// key], its slot of the cache gets, as BF16,
//   [rms_norm(latent, eps) * weight  |  rotate(key)]
// where rotate turns the pairs (key[2i], key[2i+1]) by the angle whose cos, sin are given
// (gpu_attention/rope.h).
//
// Bytes per token: (latent + rope) * (4 + 2) = 3.5 KB at K2.6's width. One block per token.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// REQUIRES: latent, rope and x_row multiples of 4; x and weight 16-byte aligned.
struct LatentWriteArgs {
  int32_t tokens = 0;
  int32_t latent = 0, rope = 0;
  float eps = 0;
  Global<const float> x = nullptr;       // [tokens][latent + rope]
  int64_t x_row = 0;                     // elements from token to token; 0: latent + rope
  Global<const float> weight = nullptr;  // [latent]
  Global<const float> cos = nullptr;     // [tokens, rope / 2]
  Global<const float> sin = nullptr;
  // [tokens] page * kPageTokens + place in it; below 0: no write
  Global<const int32_t> slots = nullptr;
  Global<bf16> cache = nullptr;  // the layer's [pages, kPageTokens, latent + rope]
};

void LatentWrite(Stream& stream, const LatentWriteArgs& args);

}  // namespace tandem::TANDEM_GPU
