// Creation and loading of the host backend.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "gpu_attention/host/host_backend.h"
#include "gpu_attention/host/kernel_choice.h"
#include "gpu_attention/rope.h"
#include "gpu_attention/weight_checks.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<HostBackend>> HostBackend::Create(const ModelShape& shape,
                                                                 const DenseBackendOptions& options,
                                                                 WorkerTeam& team) {
  TANDEM_RETURN_IF_ERROR(CheckShape(shape));
  if (options.max_tokens < 1)
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens is ", options.max_tokens, ", expected at least 1"));
  TANDEM_ASSIGN_OR_RETURN(const DenseKernels* kernels, ChooseDenseKernels(options.kernel));
  const WeightFormat format =
      options.dtype == DenseDType::kInt8 ? WeightFormat::kInt8 : WeightFormat::kBf16;
  std::unique_ptr<HostBackend> backend(
      new HostBackend({shape, *kernels, team, format, options.max_tokens}));
  TANDEM_RETURN_IF_ERROR(backend->Reserve(options));
  return backend;
}

absl::Status HostBackend::Reserve(const DenseBackendOptions& options) {
  const ModelShape& s = context_.shape;
  const int32_t tokens = options.max_tokens;
  rope_frequencies_ = RopeFrequencies(s);
  layers_.resize(s.layers);
  TANDEM_ASSIGN_OR_RETURN(cache_, LatentCache::Create(s.layers, options.kv_pages, s.cache_dim()));
  TANDEM_ASSIGN_OR_RETURN(h_, RowBuffer::Allocate(tokens, s.hidden));
  TANDEM_ASSIGN_OR_RETURN(x_, RowBuffer::Allocate(tokens, s.hidden));
  TANDEM_ASSIGN_OR_RETURN(expert_sums_, RowBuffer::Allocate(tokens, s.hidden));
  TANDEM_ASSIGN_OR_RETURN(logits_, RowBuffer::Allocate(tokens, s.vocab + kDensePanelRows));
  TANDEM_ASSIGN_OR_RETURN(router_logits_,
                          RowBuffer::Allocate(tokens, 2 * s.experts + kDensePanelRows));
  const int32_t widest = std::max(
      {s.hidden, s.q_lora_rank, s.heads * s.v_dim, s.dense_intermediate, s.shared_intermediate()});
  TANDEM_ASSIGN_OR_RETURN(activations_, ActivationBuffer::Allocate(tokens, widest));
  TANDEM_ASSIGN_OR_RETURN(mla_, Mla::Create(context_));
  TANDEM_ASSIGN_OR_RETURN(swiglu_, SwiGlu::Create(context_));
  TANDEM_ASSIGN_OR_RETURN(routed_hidden_,
                          NumaBuffer::Allocate(int64_t{tokens} * s.hidden * sizeof(bf16)));
  expert_ids_.resize(int64_t{tokens} * s.top_k);
  expert_weights_.resize(int64_t{tokens} * s.top_k);
  return absl::OkStatus();
}

absl::Status HostBackend::LoadGlobals(const GlobalWeights& weights) {
  const ModelShape& s = context_.shape;
  TANDEM_RETURN_IF_ERROR(CheckGlobals(s, weights));
  const int64_t row_bytes = s.hidden * int64_t{sizeof(bf16)};
  TANDEM_ASSIGN_OR_RETURN(embedding_, NumaBuffer::Allocate(s.vocab * row_bytes));
  context_.team.ParallelFor(s.vocab, 256, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row)
      std::memcpy(embedding_.data() + row * row_bytes, weights.embedding.row(row), row_bytes);
  });
  final_norm_ = ToFloats(weights.final_norm);
  TANDEM_ASSIGN_OR_RETURN(head_, PackedMatrix::Allocate(context_.format, s.vocab, s.hidden));
  head_.Pack(weights.head, 0, 0, &context_.team);
  return absl::OkStatus();
}

absl::Status HostBackend::LoadLayer(LayerId id, const LayerWeights& weights) {
  const ModelShape& s = context_.shape;
  TANDEM_RETURN_IF_ERROR(CheckLayer(s, id, weights));
  Layer& layer = layers_[id.value];
  TANDEM_ASSIGN_OR_RETURN(layer.attention, MlaWeights::Load(context_, weights.attention));
  layer.post_attention_norm = ToFloats(weights.post_attention_norm);

  const bool moe = s.is_moe(id.value);
  if (!moe || s.shared_experts > 0) {
    TANDEM_ASSIGN_OR_RETURN(
        layer.mlp, SwiGluWeights::Load(context_, moe ? weights.shared : weights.dense,
                                       moe ? s.shared_intermediate() : s.dense_intermediate));
  }
  return moe ? LoadRouter(weights.router, layer) : absl::OkStatus();
}

absl::Status HostBackend::LoadRouter(const RouterWeights& weights, Layer& layer) {
  const ModelShape& s = context_.shape;
  const auto& gate = weights.gate;
  // Checkpoints publish the gate in BF16 as a rule: then half the bytes hold it exactly.
  const WeightFormat format = IsBf16(gate) ? WeightFormat::kBf16 : WeightFormat::kF32;
  TANDEM_ASSIGN_OR_RETURN(layer.router, PackedMatrix::Allocate(format, s.experts, s.hidden));
  layer.router.Pack(gate, 0, 0, &context_.team);
  layer.router_bias.resize(s.experts);
  for (int32_t e = 0; e < s.experts; ++e) layer.router_bias[e] = weights.bias[e];
  return absl::OkStatus();
}

}  // namespace tandem
