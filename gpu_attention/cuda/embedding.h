// Looks up the tokens' embeddings: h[t, :] = table[ids[t], :], widened to F32.
//
// Bytes: hidden * (2 read + 4 written) per token; at K2.6's width 43 KB, so the launch itself is
// what one token waits for.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// REQUIRES: hidden a multiple of 8; ids within the table.
struct EmbeddingArgs {
  int32_t tokens = 0;
  int32_t hidden = 0;
  Global<const int32_t> ids = nullptr;  // [tokens]
  Global<const bf16> table = nullptr;   // [vocab, hidden]
  Global<float> h = nullptr;            // [tokens, hidden]
};

void Embedding(Stream& stream, const EmbeddingArgs& args);

}  // namespace tandem::TANDEM_GPU
