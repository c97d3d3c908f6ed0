// The dense side on the device: weights, latent cache and workspace, and what is put into the
// stream for each piece of a layer. Knows nothing of the CPU's half; gpu_backend.h joins the two.
//
// The residual stream is F32; matrix products take BF16 rows and weights and sum in F32
// (docs/numerics.md).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gpu_attention/cuda/gemm.h"
#include "gpu_attention/cuda/gpu_weights.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/cuda/step_inputs.h"
#include "gpu_attention/cuda/workspace.h"

namespace tandem::TANDEM_GPU {

// Rows [first, first + rows) of the step.
struct RowRange {
  int32_t first = 0, rows = 0;
};

class GpuLayers {
 public:
  // Takes cache and workspace. `stream` must outlive the object; all work goes into it.
  // Errors: RESOURCE_EXHAUSTED naming what did not fit.
  static absl::StatusOr<std::unique_ptr<GpuLayers>> Create(const ModelShape& shape,
                                                           int64_t kv_pages,
                                                           const Workspace::Needs& needs,
                                                           Stream& stream);

  absl::Status LoadGlobals(const GlobalWeights& weights);
  absl::Status LoadLayer(LayerId layer, const LayerWeights& weights);

  void Embed(const StepInputs& inputs);
  // h += attention(norm(h)); writes the new latents.
  void Attention(LayerId layer, const StepInputs& inputs, RowRange range);
  // h += mlp(norm(h)).
  void DenseMlp(LayerId layer, RowRange range);
  // x = norm(h), then the router's choice; ids of experts with slot_of[e] >= 0 come as ~e.
  void Route(LayerId layer, RowRange range, Global<const int32_t> slot_of);
  // h += shared(x).
  void SharedExperts(LayerId layer, RowRange range);
  // Logits of at most kLogitRows rows into workspace().logits. [rows, vocab]
  void Head(std::span<const int32_t> rows);
  void CopyPage(int32_t from, int32_t to);
  // A page of all layers to and from page-locked memory, [page_elems()] BF16.
  void SavePage(int32_t page, bf16* to);
  void LoadPage(const bf16* from, int32_t page);
  int64_t page_elems() const { return shape_.layers * layer_page_elems(); }

  const ModelShape& shape() const { return shape_; }
  const Workspace& workspace() const { return workspace_; }
  const DeviceProperties& device() const { return device_; }
  int64_t weight_bytes() const;
  int64_t kv_bytes() const;

 private:
  GpuLayers(const ModelShape& shape, Stream& stream, Gemm gemm)
      : shape_(shape), stream_(stream), gemm_(std::move(gemm)) {}
  int64_t layer_page_elems() const { return int64_t{kPageTokens} * shape_.cache_dim(); }
  Global<bf16> PageOf(const DeviceBuffer& pages, int32_t page) const {
    return pages.part<bf16>(page * layer_page_elems(), layer_page_elems());
  }
  void Norm(const DeviceBuffer& weight, RowRange range);
  void Absorbed(const DeviceLayer& weights, LayerId layer, const StepInputs& inputs, RowRange rows,
                int32_t table_row);
  void Naive(const DeviceLayer& weights, LayerId layer, const StepInputs& inputs,
             const Segment& segment);
  void Mlp(const DeviceMlp& mlp, int32_t intermediate, RowRange range);

  ModelShape shape_;
  Stream& stream_;
  Gemm gemm_;
  DeviceProperties device_;
  float scale_ = 0;  // of attention scores
  Workspace workspace_;
  DeviceGlobals globals_;
  std::vector<DeviceLayer> layers_;
  std::vector<DeviceBuffer> cache_;  // [layers][pages, kPageTokens, cache_dim] BF16
  PinnedBuffer logit_rows_;
};

}  // namespace tandem::TANDEM_GPU
