#include "engine/checkpoint/weight_reader.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/log.h"
#include "engine/checkpoint/weight_collector.h"

namespace tandem {
namespace {

// Where the decoder's tensors and the head lie. `probe` below is in every checkpoint.
struct Naming {
  const char* body;
  const char* head;
};
constexpr Naming kNamings[] = {
    {"language_model.model.", "language_model.lm_head.weight"},  // Kimi K2.5, K2.6
    {"model.", "lm_head.weight"},                                // K2, Moonlight, DeepSeek
    {"language_model.", "language_model.lm_head.weight"},        // NVFP4-style repacks
    {"model.language_model.", "lm_head.weight"},                 // newer transformers
    {"", "lm_head.weight"},
};
constexpr char kProbe[] = "embed_tokens.weight";

MlpWeights CollectMlp(WeightCollector& in, const std::string& prefix, int64_t hidden,
                      int64_t width) {
  MlpWeights mlp;
  mlp.gate = in.Matrix(absl::StrCat(prefix, "gate_proj.weight"), width, hidden);
  mlp.up = in.Matrix(absl::StrCat(prefix, "up_proj.weight"), width, hidden);
  mlp.down = in.Matrix(absl::StrCat(prefix, "down_proj.weight"), hidden, width);
  return mlp;
}

AttentionWeights CollectAttention(WeightCollector& in, const std::string& prefix,
                                  const ModelShape& shape) {
  const int64_t q_rows = int64_t{shape.heads} * shape.qk_dim();
  const int64_t kv_rows = int64_t{shape.heads} * (shape.qk_nope_dim + shape.v_dim);
  AttentionWeights attention;
  if (shape.q_lora_rank == 0) {
    attention.q_proj = in.Matrix(absl::StrCat(prefix, "q_proj.weight"), q_rows, shape.hidden);
  } else {
    attention.q_a =
        in.Matrix(absl::StrCat(prefix, "q_a_proj.weight"), shape.q_lora_rank, shape.hidden);
    attention.q_a_norm = in.Vector(absl::StrCat(prefix, "q_a_layernorm.weight"), shape.q_lora_rank);
    attention.q_b = in.Matrix(absl::StrCat(prefix, "q_b_proj.weight"), q_rows, shape.q_lora_rank);
  }
  attention.kv_a =
      in.Matrix(absl::StrCat(prefix, "kv_a_proj_with_mqa.weight"), shape.cache_dim(), shape.hidden);
  attention.kv_a_norm =
      in.Vector(absl::StrCat(prefix, "kv_a_layernorm.weight"), shape.kv_lora_rank);
  attention.kv_b = in.Matrix(absl::StrCat(prefix, "kv_b_proj.weight"), kv_rows, shape.kv_lora_rank);
  attention.o_proj = in.Matrix(absl::StrCat(prefix, "o_proj.weight"), shape.hidden,
                               int64_t{shape.heads} * shape.v_dim);
  return attention;
}

LayerWeights CollectLayer(WeightCollector& in, const std::string& prefix, bool is_moe,
                          const ModelShape& shape) {
  const std::string mlp = absl::StrCat(prefix, "mlp.");
  LayerWeights layer;
  layer.attention = CollectAttention(in, absl::StrCat(prefix, "self_attn."), shape);
  layer.attention.input_norm =
      in.Vector(absl::StrCat(prefix, "input_layernorm.weight"), shape.hidden);
  layer.post_attention_norm =
      in.Vector(absl::StrCat(prefix, "post_attention_layernorm.weight"), shape.hidden);
  if (!is_moe) {
    layer.dense = CollectMlp(in, mlp, shape.hidden, shape.dense_intermediate);
    return layer;
  }
  layer.router.gate = in.FloatMatrix(absl::StrCat(mlp, "gate.weight"), shape.experts, shape.hidden);
  layer.router.bias =
      in.FloatVector(absl::StrCat(mlp, "gate.e_score_correction_bias"), shape.experts);
  if (shape.shared_experts > 0) {
    layer.shared = CollectMlp(in, absl::StrCat(mlp, "shared_experts."), shape.hidden,
                              shape.shared_intermediate());
  }
  return layer;
}

ExpertWeights CollectExpert(WeightCollector& in, const std::string& prefix,
                            const ModelShape& shape) {
  ExpertWeights expert;
  expert.gate = in.Int4(absl::StrCat(prefix, "gate_proj"), shape.expert_intermediate, shape.hidden);
  expert.up = in.Int4(absl::StrCat(prefix, "up_proj"), shape.expert_intermediate, shape.hidden);
  expert.down = in.Int4(absl::StrCat(prefix, "down_proj"), shape.hidden, shape.expert_intermediate);
  return expert;
}

GlobalWeights CollectGlobals(WeightCollector& in, const Checkpoint& checkpoint,
                             const std::string& body, const std::string& head_name) {
  const ModelShape& shape = checkpoint.config().shape;
  GlobalWeights globals;
  globals.embedding = in.Matrix(absl::StrCat(body, kProbe), shape.vocab, shape.hidden);
  globals.final_norm = in.Vector(absl::StrCat(body, "norm.weight"), shape.hidden);
  const bool tied =
      checkpoint.config().tie_word_embeddings && checkpoint.Lookup(head_name) == nullptr;
  globals.head = tied ? globals.embedding : in.Matrix(head_name, shape.vocab, shape.hidden);
  return globals;
}

std::string ExpertPrefix(const std::string& layer_prefix, ExpertId expert) {
  return absl::StrCat(layer_prefix, "mlp.experts.", expert.value, ".");
}

template <class Weights>
absl::StatusOr<Loaded<Weights>> Finish(WeightCollector& in, Weights weights) {
  TANDEM_RETURN_IF_ERROR(in.status());
  return Loaded<Weights>{std::move(weights), in.TakeOwned(), in.TakeSources()};
}

void Prefetch(WeightCollector& in) {
  for (const TensorRef& source : in.TakeSources()) {
    source.file->Advise(source.bytes, /*will_need=*/true);
  }
}

}  // namespace

using Mode = WeightCollector::Mode;

WeightReader::WeightReader(const Checkpoint& checkpoint)
    : checkpoint_(checkpoint), body_(kNamings[0].body), head_name_(kNamings[0].head) {
  for (const Naming& naming : kNamings) {
    if (checkpoint.Lookup(absl::StrCat(naming.body, kProbe)) == nullptr) continue;
    body_ = naming.body;
    head_name_ = naming.head;
    if (checkpoint.Lookup(head_name_) == nullptr) head_name_ = "lm_head.weight";
    break;
  }
  const ModelShape& shape = checkpoint.config().shape;
  if (shape.moe_layers() == 0 || checkpoint.packed() != nullptr) return;
  const std::string first = ExpertPrefix(LayerPrefix({shape.dense_layers}), {0});
  quantizes_experts_ = checkpoint.Lookup(absl::StrCat(first, "gate_proj.weight")) != nullptr;
}

std::string WeightReader::LayerPrefix(LayerId layer) const {
  return absl::StrCat(body_, "layers.", layer.value, ".");
}

absl::StatusOr<WeightReader::Sizes> WeightReader::CheckComplete() const {
  if (checkpoint_.Lookup(absl::StrCat(body_, kProbe)) == nullptr) {
    return absl::NotFoundError(absl::StrCat(checkpoint_.dir(), ": there is no tensor ", body_,
                                            kProbe, " nor one like it (model.", kProbe, ", ...)"));
  }
  const ModelShape& shape = checkpoint_.config().shape;
  WeightCollector dense(checkpoint_, Mode::kCheck), experts(checkpoint_, Mode::kCheck);
  CollectGlobals(dense, checkpoint_, body_, head_name_);
  for (int32_t l = 0; l < shape.layers; ++l) {
    const std::string prefix = LayerPrefix({l});
    CollectLayer(dense, prefix, shape.is_moe(l), shape);
    // Those of a packed image were checked when it was opened.
    const bool has_experts = shape.is_moe(l) && checkpoint_.packed() == nullptr;
    for (int32_t e = 0; has_experts && e < shape.experts; ++e) {
      CollectExpert(experts, ExpertPrefix(prefix, {e}), shape);
    }
  }
  const int64_t problems = dense.problems() + experts.problems();
  int64_t expert_bytes = experts.source_bytes();
  for (int32_t l = shape.dense_layers; l < shape.layers && checkpoint_.packed() != nullptr; ++l)
    expert_bytes += shape.experts * checkpoint_.packed_layer(l)->layout().expert_bytes();
  if (problems == 0) return Sizes{dense.source_bytes(), expert_bytes};
  const absl::Status& first = dense.status().ok() ? experts.status() : dense.status();
  if (problems == 1) return first;
  return absl::Status(first.code(), absl::StrCat(std::string(first.message()), " (and ",
                                                 problems - 1, " more problems)"));
}

absl::StatusOr<Loaded<GlobalWeights>> WeightReader::Globals() const {
  WeightCollector in(checkpoint_, Mode::kLoad);
  return Finish(in, CollectGlobals(in, checkpoint_, body_, head_name_));
}

absl::StatusOr<Loaded<LayerWeights>> WeightReader::Layer(LayerId layer) const {
  const ModelShape& shape = checkpoint_.config().shape;
  WeightCollector in(checkpoint_, Mode::kLoad);
  return Finish(in, CollectLayer(in, LayerPrefix(layer), shape.is_moe(layer.value), shape));
}

bool WeightReader::IsRoutedExpert(std::string_view tensor) const {
  const ModelShape& shape = checkpoint_.config().shape;
  absl::string_view rest(tensor.data(), tensor.size());
  int32_t layer = 0;
  if (!absl::ConsumePrefix(&rest, absl::StrCat(body_, "layers."))) return false;
  const size_t dot = rest.find('.');
  return dot != rest.npos && absl::SimpleAtoi(rest.substr(0, dot), &layer) && layer >= 0 &&
         layer < shape.layers && shape.is_moe(layer) &&
         absl::StartsWith(rest.substr(dot), ".mlp.experts.");
}

absl::StatusOr<Loaded<ExpertWeights>> WeightReader::Expert(LayerId layer, ExpertId expert) const {
  TANDEM_CHECK(checkpoint_.packed() == nullptr, "packed experts are not tensors");
  WeightCollector in(checkpoint_, Mode::kLoad);
  return Finish(
      in, CollectExpert(in, ExpertPrefix(LayerPrefix(layer), expert), checkpoint_.config().shape));
}

void WeightReader::PrefetchLayer(LayerId layer) const {
  const ModelShape& shape = checkpoint_.config().shape;
  WeightCollector in(checkpoint_, Mode::kCheck);
  CollectLayer(in, LayerPrefix(layer), shape.is_moe(layer.value), shape);
  Prefetch(in);
}

void WeightReader::PrefetchExpert(LayerId layer, ExpertId expert) const {
  WeightCollector in(checkpoint_, Mode::kCheck);
  CollectExpert(in, ExpertPrefix(LayerPrefix(layer), expert), checkpoint_.config().shape);
  Prefetch(in);
}

}  // namespace tandem
