// What Embedding computes, in plain loops over host memory; see embedding.h.
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

void EmbeddingReference(int32_t tokens, int32_t hidden, const int32_t* ids,  // [tokens]
                        const bf16* table,                                   // [vocab, hidden]
                        float* h);                                           // [tokens, hidden]

}  // namespace tandem
