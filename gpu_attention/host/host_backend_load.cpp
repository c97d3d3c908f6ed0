// Creation and loading of the host backend.
#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "gpu_attention/host/host_backend.h"
#include "gpu_attention/host/kernel_choice.h"
#include "gpu_attention/host/load.h"
#include "gpu_attention/host/rope.h"

namespace tandem {
namespace {

absl::Status CheckShape(const ModelShape& s) {
  auto wrong = [](const char* name, int64_t got, const char* expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("model shape: ", name, " is ", got, ", expected ", expected));
  };
  struct Dim {
    const char* name;
    int32_t value;
  };
  for (const Dim& d : {Dim{"hidden", s.hidden}, Dim{"qk_nope_dim", s.qk_nope_dim},
                       Dim{"qk_rope_dim", s.qk_rope_dim}, Dim{"v_dim", s.v_dim}}) {
    if (d.value <= 0 || d.value % 2 != 0) return wrong(d.name, d.value, "a positive even number");
  }
  if (s.kv_lora_rank <= 0 || s.kv_lora_rank % 16 != 0)
    return wrong("kv_lora_rank", s.kv_lora_rank, "a positive multiple of 16");
  if (s.q_lora_rank < 0 || s.q_lora_rank % 2 != 0)
    return wrong("q_lora_rank", s.q_lora_rank, "0 or a positive even number");
  if (s.heads <= 0) return wrong("heads", s.heads, "at least 1");
  if (s.layers <= 0) return wrong("layers", s.layers, "at least 1");
  if (s.vocab <= 0) return wrong("vocab", s.vocab, "at least 1");
  if (s.dense_layers > 0 && (s.dense_intermediate <= 0 || s.dense_intermediate % 2 != 0))
    return wrong("dense_intermediate", s.dense_intermediate, "a positive even number");
  if (s.moe_layers() == 0) return absl::OkStatus();
  if (s.top_k <= 0 || s.top_k > s.experts) return wrong("top_k", s.top_k, "1 to experts");
  if (s.shared_intermediate() % 2 != 0)
    return wrong("shared_intermediate", s.shared_intermediate(), "an even number");
  if (s.expert_groups < 1 || s.experts % s.expert_groups != 0)
    return wrong("expert_groups", s.expert_groups, "a divisor of experts");
  const int32_t reachable = s.experts / s.expert_groups * s.top_k_groups;
  if (s.top_k_groups < 1 || s.top_k_groups > s.expert_groups || reachable < s.top_k)
    return wrong("top_k_groups", s.top_k_groups, "enough groups to hold top_k experts");
  return absl::OkStatus();
}

absl::Status InLayer(LayerId layer, const absl::Status& status) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat("layer ", layer.value, ": ", status.message())};
}

bool IsBf16(const View<const float, 2>& m) {
  for (int64_t r = 0; r < m.dim(0); ++r)
    for (int64_t c = 0; c < m.dim(1); ++c)
      if ((std::bit_cast<uint32_t>(m(r, c)) & 0xffffu) != 0) return false;
  return true;
}

}  // namespace

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
  TANDEM_RETURN_IF_ERROR(CheckMatrix("embed_tokens", weights.embedding, s.vocab, s.hidden));
  TANDEM_RETURN_IF_ERROR(CheckVector("norm", weights.final_norm, s.hidden));
  TANDEM_RETURN_IF_ERROR(CheckMatrix("lm_head", weights.head, s.vocab, s.hidden));
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
  TANDEM_CHECK(id.value >= 0 && id.value < s.layers, "the layer exists");
  Layer& layer = layers_[id.value];
  auto attention = MlaWeights::Load(context_, weights.attention);
  TANDEM_RETURN_IF_ERROR(InLayer(id, attention.status()));
  layer.attention = *std::move(attention);
  TANDEM_RETURN_IF_ERROR(
      InLayer(id, CheckVector("post_attention_layernorm", weights.post_attention_norm, s.hidden)));
  layer.post_attention_norm = ToFloats(weights.post_attention_norm);

  const bool moe = s.is_moe(id.value);
  if (!moe || s.shared_experts > 0) {
    auto mlp = SwiGluWeights::Load(context_, moe ? weights.shared : weights.dense,
                                   moe ? s.shared_intermediate() : s.dense_intermediate);
    TANDEM_RETURN_IF_ERROR(InLayer(id, mlp.status()));
    layer.mlp = *std::move(mlp);
  }
  return moe ? InLayer(id, LoadRouter(weights.router, layer)) : absl::OkStatus();
}

absl::Status HostBackend::LoadRouter(const RouterWeights& weights, Layer& layer) {
  const ModelShape& s = context_.shape;
  const auto& gate = weights.gate;
  if (gate.data() == nullptr || gate.dim(0) != s.experts || gate.dim(1) != s.hidden ||
      weights.bias.dim(0) != s.experts) {
    return absl::InvalidArgumentError(absl::StrCat(
        "router: expected gate [", s.experts, ", ", s.hidden, "] and bias [", s.experts, "], got [",
        gate.dim(0), ", ", gate.dim(1), "] and [", weights.bias.dim(0), "]"));
  }
  // Checkpoints publish the gate in BF16 as a rule: then half the bytes hold it exactly.
  const WeightFormat format = IsBf16(gate) ? WeightFormat::kBf16 : WeightFormat::kF32;
  TANDEM_ASSIGN_OR_RETURN(layer.router, PackedMatrix::Allocate(format, s.experts, s.hidden));
  layer.router.Pack(gate, 0, 0, &context_.team);
  layer.router_bias.resize(s.experts);
  for (int32_t e = 0; e < s.experts; ++e) layer.router_bias[e] = weights.bias[e];
  return absl::OkStatus();
}

}  // namespace tandem
