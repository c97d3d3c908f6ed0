#include "gpu_attention/weight_checks.h"

#include <bit>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

absl::Status CheckMatrix(const char* name, const MatrixView& m, int64_t rows, int64_t cols) {
  if (m.data() != nullptr && m.dim(0) == rows && m.dim(1) == cols) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": expected [", rows, ", ", cols, "], got [",
                                                 m.dim(0), ", ", m.dim(1), "]"));
}

absl::Status CheckVector(const char* name, const VectorView& v, int64_t size) {
  if (v.data() != nullptr && v.dim(0) == size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected [", size, "], got [", v.dim(0), "]"));
}

absl::Status CheckAttention(const ModelShape& s, const AttentionWeights& w) {
  TANDEM_RETURN_IF_ERROR(CheckVector("input_layernorm", w.input_norm, s.hidden));
  if (s.q_lora_rank > 0) {
    TANDEM_RETURN_IF_ERROR(CheckMatrix("q_a_proj", w.q_a, s.q_lora_rank, s.hidden));
    TANDEM_RETURN_IF_ERROR(CheckVector("q_a_layernorm", w.q_a_norm, s.q_lora_rank));
    TANDEM_RETURN_IF_ERROR(
        CheckMatrix("q_b_proj", w.q_b, int64_t{s.heads} * s.qk_dim(), s.q_lora_rank));
  } else {
    TANDEM_RETURN_IF_ERROR(
        CheckMatrix("q_proj", w.q_proj, int64_t{s.heads} * s.qk_dim(), s.hidden));
  }
  TANDEM_RETURN_IF_ERROR(CheckMatrix("kv_a_proj_with_mqa", w.kv_a, s.cache_dim(), s.hidden));
  TANDEM_RETURN_IF_ERROR(CheckVector("kv_a_layernorm", w.kv_a_norm, s.kv_lora_rank));
  TANDEM_RETURN_IF_ERROR(CheckMatrix("kv_b_proj", w.kv_b,
                                     int64_t{s.heads} * (s.qk_nope_dim + s.v_dim), s.kv_lora_rank));
  return CheckMatrix("o_proj", w.o_proj, s.hidden, int64_t{s.heads} * s.v_dim);
}

absl::Status CheckMlp(const MlpWeights& w, int32_t intermediate, int32_t hidden) {
  TANDEM_RETURN_IF_ERROR(CheckMatrix("gate_proj", w.gate, intermediate, hidden));
  TANDEM_RETURN_IF_ERROR(CheckMatrix("up_proj", w.up, intermediate, hidden));
  return CheckMatrix("down_proj", w.down, hidden, intermediate);
}

absl::Status CheckRouter(const ModelShape& s, const RouterWeights& weights) {
  const auto& gate = weights.gate;
  if (gate.data() != nullptr && gate.dim(0) == s.experts && gate.dim(1) == s.hidden &&
      weights.bias.dim(0) == s.experts)
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "router: expected gate [", s.experts, ", ", s.hidden, "] and bias [", s.experts, "], got [",
      gate.dim(0), ", ", gate.dim(1), "] and [", weights.bias.dim(0), "]"));
}

absl::Status CheckTensors(const ModelShape& s, bool moe, const LayerWeights& w) {
  TANDEM_RETURN_IF_ERROR(CheckAttention(s, w.attention));
  TANDEM_RETURN_IF_ERROR(CheckVector("post_attention_layernorm", w.post_attention_norm, s.hidden));
  if (!moe) return CheckMlp(w.dense, s.dense_intermediate, s.hidden);
  if (s.shared_experts > 0)
    TANDEM_RETURN_IF_ERROR(CheckMlp(w.shared, s.shared_intermediate(), s.hidden));
  return CheckRouter(s, w.router);
}

}  // namespace

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

absl::Status CheckGlobals(const ModelShape& s, const GlobalWeights& weights) {
  TANDEM_RETURN_IF_ERROR(CheckMatrix("embed_tokens", weights.embedding, s.vocab, s.hidden));
  TANDEM_RETURN_IF_ERROR(CheckVector("norm", weights.final_norm, s.hidden));
  return CheckMatrix("lm_head", weights.head, s.vocab, s.hidden);
}

absl::Status CheckLayer(const ModelShape& s, LayerId layer, const LayerWeights& weights) {
  TANDEM_CHECK(layer.value >= 0 && layer.value < s.layers, "the layer exists");
  const absl::Status status = CheckTensors(s, s.is_moe(layer.value), weights);
  if (status.ok()) return status;
  return {status.code(), absl::StrCat("layer ", layer.value, ": ", status.message())};
}

std::vector<float> ToFloats(const VectorView& v) {
  std::vector<float> floats(v.dim(0));
  for (int64_t i = 0; i < v.dim(0); ++i) floats[i] = ToFloat(v[i]);
  return floats;
}

bool IsBf16(const View<const float, 2>& m) {
  for (int64_t r = 0; r < m.dim(0); ++r)
    for (int64_t c = 0; c < m.dim(1); ++c)
      if ((std::bit_cast<uint32_t>(m(r, c)) & 0xffffu) != 0) return false;
  return true;
}

}  // namespace tandem
