// What MlaDecode computes, in plain loops over host memory; see mla_decode.h.
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

// One row.
struct MlaDecodeReferenceArgs {
  int32_t heads = 0;
  int32_t latent = 0, rope = 0;
  float scale = 0;
  const bf16* query = nullptr;     // [heads, latent + rope]
  const bf16* cache = nullptr;     // [pages, kPageTokens, latent + rope]
  const int32_t* pages = nullptr;  // of this row
  int32_t kv_len = 0;
  float* out = nullptr;  // [heads, latent]
};

void MlaDecodeReference(const MlaDecodeReferenceArgs& args);

}  // namespace tandem
