#include "gpu_attention/cuda/embedding_reference.h"

namespace tandem {

void EmbeddingReference(int32_t tokens, int32_t hidden, const int32_t* ids, const bf16* table,
                        float* h) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t i = 0; i < hidden; ++i)
      h[t * hidden + i] = ToFloat(table[int64_t{ids[t]} * hidden + i]);
}

}  // namespace tandem
