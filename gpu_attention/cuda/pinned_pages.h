// Pages of the latent cache in page-locked memory (gpu_attention/page_store.h). Copies go into the
// backend's stream, so they need no other order.
#pragma once

#include "gpu_attention/cuda/gpu_layers.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/page_store.h"

namespace tandem::TANDEM_GPU {

class PinnedPages final : public PageStore {
 public:
  static absl::StatusOr<std::unique_ptr<PageStore>> Create(GpuLayers& layers, int32_t places) {
    std::unique_ptr<PinnedPages> pages(new PinnedPages(layers, places));
    TANDEM_ASSIGN_OR_RETURN(
        pages->memory_,
        PinnedBuffer::Allocate(places * layers.page_elems() * sizeof(bf16), "cache pages in RAM"));
    return pages;
  }

  int32_t places() const override { return places_; }
  int64_t bytes() const override { return static_cast<int64_t>(memory_.bytes()); }
  void Save(int32_t page, int32_t place) override { layers_.SavePage(page, At(place)); }
  void Load(int32_t place, int32_t page) override { layers_.LoadPage(At(place), page); }

 private:
  PinnedPages(GpuLayers& layers, int32_t places) : layers_(layers), places_(places) {}
  bf16* At(int32_t place) const { return memory_.host<bf16>() + place * layers_.page_elems(); }

  GpuLayers& layers_;
  const int32_t places_;
  PinnedBuffer memory_;  // [places, layers, kPageTokens, cache_dim] BF16
};

}  // namespace tandem::TANDEM_GPU
