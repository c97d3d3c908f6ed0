// What the blocks of MlaPrefill compute together, in plain loops over host memory; see
// mla_prefill.h. All keys at once: there is no state.
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

struct MlaPrefillReferenceArgs {
  int32_t tokens = 0, kv_len = 0, heads = 0;
  int32_t nope = 0, rope = 0, v = 0;
  float scale = 0;
  const bf16* q = nullptr;     // [tokens, heads, nope + rope], the tail rotated
  const bf16* kv = nullptr;    // [kv_len + tokens, heads, nope + v]
  const bf16* k_pe = nullptr;  // [kv_len + tokens, rope]
  float* out = nullptr;        // [tokens, heads, v]
};

void MlaPrefillReference(const MlaPrefillReferenceArgs& args);

}  // namespace tandem
