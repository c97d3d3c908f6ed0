// How many pages of latent cache an engine gets.
#pragma once

#include <cstdint>

#include "core/model_shape.h"

namespace tandem {

struct KvSizing {
  int64_t wanted_tokens = 0;    // 0: choose
  int64_t bytes_per_token = 0;  // of all layers
  int64_t free_bytes = 0;       // RAM left once the weights are loaded
  int64_t max_positions = 0;    // of the model
  int32_t max_sequences = 0;    // running at once
};

// Unless told otherwise: every sequence may reach the model's context, within half of the free RAM
// and 1,048,576 tokens; 4,096 tokens at least (or the context, if that is shorter). Memory counts
// only once a page is used, so a generous cache costs nothing.
int64_t ChooseKvPages(const KvSizing& sizing);

}  // namespace tandem
