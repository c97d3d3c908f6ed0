#include "gpu_attention/cuda/gpu_layers.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gpu_attention/cuda/embedding.h"
#include "gpu_attention/cuda/rms_norm.h"
#include "gpu_attention/cuda/router.h"
#include "gpu_attention/cuda/silu_mul.h"
#include "gpu_attention/rope.h"

namespace tandem::TANDEM_GPU {

absl::StatusOr<std::unique_ptr<GpuLayers>> GpuLayers::Create(const ModelShape& shape,
                                                             int64_t kv_pages,
                                                             const Workspace::Needs& needs,
                                                             Stream& stream) {
  TANDEM_ASSIGN_OR_RETURN(Gemm gemm, Gemm::Create(stream));
  std::unique_ptr<GpuLayers> layers(new GpuLayers(shape, stream, std::move(gemm)));
  layers->device_ = needs.device;
  layers->scale_ = AttentionScale(shape);
  layers->layers_.resize(shape.layers);
  const size_t page_bytes = size_t{kPageTokens} * shape.cache_dim() * sizeof(bf16);
  for (int32_t l = 0; l < shape.layers; ++l) {
    TANDEM_ASSIGN_OR_RETURN(
        DeviceBuffer pages,
        DeviceBuffer::Allocate(kv_pages * page_bytes, absl::StrCat("latent cache of layer ", l)));
    layers->cache_.push_back(std::move(pages));
  }
  TANDEM_ASSIGN_OR_RETURN(layers->workspace_, Workspace::Allocate(shape, needs));
  TANDEM_ASSIGN_OR_RETURN(layers->logit_rows_,
                          PinnedBuffer::Allocate(kLogitRows * sizeof(int32_t), "logit rows"));
  return layers;
}

absl::Status GpuLayers::LoadGlobals(const GlobalWeights& weights) {
  TANDEM_ASSIGN_OR_RETURN(globals_, TANDEM_GPU::LoadGlobals(shape_, weights, stream_));
  return absl::OkStatus();
}

absl::Status GpuLayers::LoadLayer(LayerId layer, const LayerWeights& weights) {
  TANDEM_ASSIGN_OR_RETURN(layers_[layer.value],
                          TANDEM_GPU::LoadLayer(shape_, layer, weights, stream_));
  return absl::OkStatus();
}

void GpuLayers::Embed(const StepInputs& inputs) {
  const int32_t rows = inputs.key().rows;
  Embedding(stream_, {.tokens = rows,
                      .hidden = shape_.hidden,
                      .ids = inputs.token_ids(),
                      .table = globals_.embedding.as<bf16>(),
                      .h = workspace_.h.part<float>(0, int64_t{rows} * shape_.hidden)});
}

// x = norm(h).
void GpuLayers::Norm(const DeviceBuffer& weight, RowRange range) {
  const int64_t first = int64_t{range.first} * shape_.hidden;
  const int64_t elems = int64_t{range.rows} * shape_.hidden;
  RmsNorm(stream_, {.rows = range.rows,
                    .dim = shape_.hidden,
                    .eps = shape_.rms_norm_eps,
                    .x = workspace_.h.part<float>(first, elems),
                    .weight = weight.as<float>(),
                    .out = workspace_.x.part<bf16>(first, elems)});
}

// h += down(silu(gate x) * up x).
void GpuLayers::Mlp(const DeviceMlp& mlp, int32_t intermediate, RowRange range) {
  const int64_t first = range.first, rows = range.rows, hidden = shape_.hidden;
  const auto gate_up = workspace_.gate_up.part<float>(0, rows * 2 * intermediate);
  const auto activated = workspace_.activated.part<bf16>(0, rows * intermediate);
  gemm_.Linear({.rows = range.rows,
                .outputs = 2 * intermediate,
                .inputs = shape_.hidden,
                .x = workspace_.x.part<bf16>(first * hidden, rows * hidden),
                .w = mlp.gate_up.as<bf16>(),
                .y_f32 = gate_up});
  SiluMul(stream_, {.gate_up_f32 = gate_up,
                    .out = activated,
                    .rows = range.rows,
                    .width = intermediate,
                    .in_row = 2 * intermediate});
  gemm_.Linear({.rows = range.rows,
                .outputs = shape_.hidden,
                .inputs = intermediate,
                .x = activated,
                .w = mlp.down.as<bf16>(),
                .y_f32 = workspace_.h.part<float>(first * hidden, rows * hidden),
                .accumulate = true});
}

void GpuLayers::DenseMlp(LayerId layer, RowRange range) {
  const DeviceLayer& weights = layers_[layer.value];
  Norm(weights.post_attention_norm, range);
  Mlp(weights.mlp, shape_.dense_intermediate, range);
}

void GpuLayers::Route(LayerId layer, RowRange range, Global<const int32_t> slot_of) {
  const DeviceLayer& weights = layers_[layer.value];
  Norm(weights.post_attention_norm, range);
  const ModelShape& s = shape_;
  const int64_t first = range.first, rows = range.rows;
  RouterArgs args = {
      .tokens = range.rows,
      .hidden = s.hidden,
      .experts = s.experts,
      .top_k = s.top_k,
      .expert_groups = s.expert_groups,
      .top_k_groups = s.top_k_groups,
      .norm_top_k = s.norm_top_k,
      .routed_scaling = s.routed_scaling,
      .x = workspace_.x.part<bf16>(first * s.hidden, rows * s.hidden),
      .bias = weights.router_bias.as<float>(),
      .slot_of = slot_of,
      .workspace = workspace_.router.as<float>(),
      .expert_ids = workspace_.expert_ids.part<int32_t>(first * s.top_k, rows * s.top_k),
      .weights = workspace_.weights.part<float>(first * s.top_k, rows * s.top_k)};
  if (weights.router_is_bf16) {
    args.gate_bf16 = weights.router.as<bf16>();
  } else {
    args.gate_f32 = weights.router.as<float>();
  }
  Router(stream_, args);
}

void GpuLayers::SharedExperts(LayerId layer, RowRange range) {
  if (shape_.shared_experts == 0) return;
  Mlp(layers_[layer.value].mlp, shape_.shared_intermediate(), range);
}

void GpuLayers::Head(std::span<const int32_t> rows) {
  const auto n = static_cast<int32_t>(rows.size());
  TANDEM_CHECK(n <= kLogitRows, "the head is asked in blocks");
  std::ranges::copy(rows, logit_rows_.host<int32_t>());
  const auto row_ids = workspace_.logit_rows.part<int32_t>(0, n);
  stream_.CopyToDevice(row_ids, logit_rows_.host<int32_t>(), n);
  const auto x = workspace_.x.part<bf16>(0, int64_t{n} * shape_.hidden);
  RmsNorm(stream_, {.rows = n,
                    .dim = shape_.hidden,
                    .eps = shape_.rms_norm_eps,
                    .x = workspace_.h.as<float>(),
                    .row_ids = row_ids,
                    .weight = globals_.final_norm.as<float>(),
                    .out = x});
  gemm_.Linear({.rows = n,
                .outputs = shape_.vocab,
                .inputs = shape_.hidden,
                .x = x,
                .w = globals_.head.as<bf16>(),
                .y_f32 = workspace_.logits.part<float>(0, int64_t{n} * shape_.vocab)});
}

void GpuLayers::CopyPage(int32_t from, int32_t to) {
  for (const DeviceBuffer& pages : cache_)
    stream_.CopyOnDevice<bf16>(PageOf(pages, to), PageOf(pages, from), layer_page_elems());
}

void GpuLayers::SavePage(int32_t page, bf16* to) {
  for (const DeviceBuffer& pages : cache_) {
    stream_.CopyToHost<bf16>(to, PageOf(pages, page), layer_page_elems());
    to += layer_page_elems();
  }
}

void GpuLayers::LoadPage(const bf16* from, int32_t page) {
  for (const DeviceBuffer& pages : cache_) {
    stream_.CopyToDevice<bf16>(PageOf(pages, page), from, layer_page_elems());
    from += layer_page_elems();
  }
}

int64_t GpuLayers::weight_bytes() const {
  int64_t bytes = SizeOf(globals_);
  for (const DeviceLayer& layer : layers_) bytes += SizeOf(layer);
  return bytes;
}

int64_t GpuLayers::kv_bytes() const {
  int64_t bytes = 0;
  for (const DeviceBuffer& pages : cache_) bytes += pages.bytes();
  return bytes;
}

}  // namespace tandem::TANDEM_GPU
