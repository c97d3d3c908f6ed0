// The paged latent cache of all layers: per token the normed latent, then the rotated shared key.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/bf16.h"
#include "core/memory.h"
#include "core/status.h"
#include "gpu_attention/step_batch.h"

namespace tandem {

// Owns the memory, [layers, pages, kPageTokens, cache_dim] BF16; the system hands it out as it is
// first written. Written by one thread per token, read by many between steps.
class LatentCache {
 public:
  static absl::StatusOr<LatentCache> Create(int32_t layers, int64_t pages, int32_t cache_dim) {
    LatentCache c;
    c.layers_ = layers;
    c.cache_dim_ = cache_dim;
    c.page_elems_ = int64_t{kPageTokens} * cache_dim;
    c.layer_elems_ = pages * c.page_elems_;
    TANDEM_ASSIGN_OR_RETURN(c.memory_, NumaBuffer::Allocate(c.size_bytes()));
    return c;
  }
  int64_t size_bytes() const { return layers_ * layer_elems_ * int64_t{sizeof(bf16)}; }
  // All pages of a layer: [pages, kPageTokens, cache_dim].
  bf16* layer(int32_t layer) const { return memory_.as<bf16>() + layer * layer_elems_; }
  // Where a token's cache_dim elements go.
  bf16* token(int32_t layer, int32_t page, int32_t slot) const {
    return this->layer(layer) + page * page_elems_ + int64_t{slot} * cache_dim_;
  }
  void CopyPage(int32_t from, int32_t to) {
    for (int32_t l = 0; l < layers_; ++l)
      std::memcpy(token(l, to, 0), token(l, from, 0), page_elems_ * sizeof(bf16));
  }

 private:
  int32_t layers_ = 0, cache_dim_ = 0;
  int64_t page_elems_ = 0, layer_elems_ = 0;
  NumaBuffer memory_;
};

}  // namespace tandem
