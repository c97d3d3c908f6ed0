#include "tools/synth_plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

// Standard deviations are gain / sqrt(inputs), so that activations keep their size at any width:
// about K2.6's own 0.02 at 7,168 inputs. The head's gain makes some tokens clearly likelier.
constexpr float kGain = 1.0f;
constexpr float kGateGain = 1.5f;
constexpr float kHeadGain = 3.0f;
constexpr float kBiasSigma = 0.05f;
constexpr int64_t kFp8Block = 128;
constexpr int64_t kInt4Group = 32;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Lists the tensors in model order.
class Planner {
 public:
  explicit Planner(const SynthModel& model)
      : model_(model), shape_(model.shape), prefix_(model.nested ? "language_model." : "") {}

  std::vector<PlannedTensor> Plan() {
    Add("model.embed_tokens.weight", DType::kBf16, {shape_.vocab, shape_.hidden}, Fill::kNormalBf16,
        1.0f);
    for (int32_t l = 0; l < shape_.layers; ++l) AddLayer(l);
    AddNorm("model.norm.weight", shape_.hidden);
    if (!model_.tied) {
      Add("lm_head.weight", DType::kBf16, {shape_.vocab, shape_.hidden}, Fill::kNormalBf16,
          Sigma(kHeadGain, shape_.hidden));
    }
    return std::move(tensors_);
  }

 private:
  static float Sigma(float gain, int64_t inputs) {
    return gain / std::sqrt(static_cast<float>(inputs));
  }

  PlannedTensor& Add(const std::string& role, DType dtype, TensorDims shape, Fill fill,
                     float sigma) {
    PlannedTensor& t = tensors_.emplace_back();
    t.name = prefix_ + role;
    t.role = role;
    t.dtype = dtype;
    t.shape = std::move(shape);
    t.fill = fill;
    t.sigma = sigma;
    t.size_bytes = SizeBytes(dtype);
    for (int64_t dim : t.shape) t.size_bytes *= dim;
    return t;
  }

  void AddNorm(const std::string& role, int64_t size) {
    Add(role, DType::kBf16, {size}, Fill::kNormBf16, 0);
  }

  // A linear layer that the model's format may hold in FP8.
  void AddLinear(const std::string& stem, int64_t out, int64_t in, float gain = kGain) {
    const std::string name = stem + ".weight";
    if (model_.format != SynthFormat::kFp8) {
      Add(name, DType::kBf16, {out, in}, Fill::kNormalBf16, Sigma(gain, in));
      return;
    }
    Add(name, DType::kF8E4M3, {out, in}, Fill::kFp8, 0);
    Add(name + "_scale_inv", DType::kF32, {CeilDiv(out, kFp8Block), CeilDiv(in, kFp8Block)},
        Fill::kFp8Scale, Sigma(gain, in));
  }

  void AddExpertLinear(const std::string& stem, int64_t out, int64_t in, float gain = kGain) {
    if (model_.format != SynthFormat::kInt4) return AddLinear(stem, out, in, gain);
    Add(stem + ".weight_packed", DType::kI32, {out, in / 8}, Fill::kInt4, 0);
    Add(stem + ".weight_scale", DType::kBf16, {out, in / kInt4Group}, Fill::kInt4Scale,
        Sigma(gain, in));
    Add(stem + ".weight_shape", DType::kI32, {2}, Fill::kInt4, 0).values = {
        static_cast<int32_t>(out), static_cast<int32_t>(in)};
  }

  void AddMlp(const std::string& prefix, int64_t width) {
    AddLinear(prefix + "gate_proj", width, shape_.hidden, kGateGain);
    AddLinear(prefix + "up_proj", width, shape_.hidden);
    AddLinear(prefix + "down_proj", shape_.hidden, width);
  }

  void AddAttention(const std::string& prefix) {
    const int64_t q_rows = int64_t{shape_.heads} * shape_.qk_dim();
    if (shape_.q_lora_rank == 0) {
      AddLinear(prefix + "q_proj", q_rows, shape_.hidden);
    } else {
      AddLinear(prefix + "q_a_proj", shape_.q_lora_rank, shape_.hidden);
      AddNorm(prefix + "q_a_layernorm.weight", shape_.q_lora_rank);
      AddLinear(prefix + "q_b_proj", q_rows, shape_.q_lora_rank);
    }
    AddLinear(prefix + "kv_a_proj_with_mqa", shape_.cache_dim(), shape_.hidden);
    AddNorm(prefix + "kv_a_layernorm.weight", shape_.kv_lora_rank);
    AddLinear(prefix + "kv_b_proj", int64_t{shape_.heads} * (shape_.qk_nope_dim + shape_.v_dim),
              shape_.kv_lora_rank);
    AddLinear(prefix + "o_proj", shape_.hidden, int64_t{shape_.heads} * shape_.v_dim);
  }

  void AddLayer(int32_t layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    AddNorm(prefix + "input_layernorm.weight", shape_.hidden);
    AddAttention(prefix + "self_attn.");
    AddNorm(prefix + "post_attention_layernorm.weight", shape_.hidden);
    if (!shape_.is_moe(layer)) return AddMlp(prefix + "mlp.", shape_.dense_intermediate);
    Add(prefix + "mlp.gate.weight", DType::kBf16, {shape_.experts, shape_.hidden},
        Fill::kNormalBf16, Sigma(kGain, shape_.hidden));
    Add(prefix + "mlp.gate.e_score_correction_bias", DType::kF32, {shape_.experts},
        Fill::kNormalF32, kBiasSigma);
    if (shape_.shared_experts > 0) {
      AddMlp(prefix + "mlp.shared_experts.", shape_.shared_intermediate());
    }
    for (int32_t e = 0; e < shape_.experts; ++e) {
      const std::string expert = absl::StrCat(prefix, "mlp.experts.", e, ".");
      AddExpertLinear(expert + "gate_proj", shape_.expert_intermediate, shape_.hidden, kGateGain);
      AddExpertLinear(expert + "up_proj", shape_.expert_intermediate, shape_.hidden);
      AddExpertLinear(expert + "down_proj", shape_.hidden, shape_.expert_intermediate);
    }
  }

  const SynthModel& model_;
  const ModelShape& shape_;
  std::string prefix_;
  std::vector<PlannedTensor> tensors_;
};

// Wide elements first, as the usual writer orders them, so that every tensor is aligned.
void LayOut(PlannedShard& shard) {
  std::stable_sort(shard.tensors.begin(), shard.tensors.end(),
                   [](const PlannedTensor& a, const PlannedTensor& b) {
                     return SizeBytes(a.dtype) > SizeBytes(b.dtype);
                   });
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  // ordered_json looks a key up by walking the list; appending to the vector beneath does not.
  auto& entries = header.get_ref<nlohmann::ordered_json::object_t&>();
  for (PlannedTensor& t : shard.tensors) {
    t.offset = shard.data_bytes;
    shard.data_bytes += t.size_bytes;
    nlohmann::ordered_json entry = {{"dtype", Name(t.dtype)},
                                    {"shape", std::vector<int64_t>(t.shape.begin(), t.shape.end())},
                                    {"data_offsets", {t.offset, shard.data_bytes}}};
    entries.emplace_back(t.name, std::move(entry));
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const uint64_t length = json.size();
  shard.header.assign(8, '\0');
  std::memcpy(shard.header.data(), &length, 8);
  shard.header += json;
}

}  // namespace

std::vector<PlannedShard> PlanShards(const SynthModel& model, int64_t max_shard_bytes) {
  std::vector<PlannedShard> shards(1);
  int64_t shard_bytes = 0;
  for (PlannedTensor& tensor : Planner(model).Plan()) {
    if (shard_bytes > 0 && shard_bytes + tensor.size_bytes > max_shard_bytes) {
      shards.emplace_back();
      shard_bytes = 0;
    }
    shard_bytes += tensor.size_bytes;
    shards.back().tensors.push_back(std::move(tensor));
  }
  for (size_t s = 0; s < shards.size(); ++s) {
    shards[s].file = absl::StrFormat("model-%05d-of-%05d.safetensors", s + 1, shards.size());
    LayOut(shards[s]);
  }
  return shards;
}

std::string IndexText(const std::vector<PlannedShard>& shards) {
  int64_t total_bytes = 0;
  nlohmann::json map = nlohmann::json::object();
  for (const PlannedShard& shard : shards) {
    total_bytes += shard.data_bytes;
    for (const PlannedTensor& tensor : shard.tensors) map[tensor.name] = shard.file;
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total_bytes}}},
                                        {"weight_map", map}};
  return index.dump(1) + "\n";
}

}  // namespace tandem
