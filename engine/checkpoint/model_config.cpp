#include "engine/checkpoint/model_config.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "engine/checkpoint/config_fields.h"
#include "engine/checkpoint/json_file.h"

namespace tandem {
namespace {

using nlohmann::json;

// Wider than any model we know; keeps every product of two in 63 bits.
constexpr int64_t kMaxDim = int64_t{1} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxProjection = int64_t{1} << 26;  // rows of one matrix
constexpr int64_t kExpertGroup = 32;                  // inputs per INT4 scale

int32_t Dim(ConfigFields& fields, const std::string& key) {
  return static_cast<int32_t>(fields.Int(key, 1, kMaxDim));
}

void RequireText(ConfigFields& fields, const std::string& key, const std::string& only) {
  const std::string found = fields.Text(key, only);
  if (found != only) fields.Unsupported(key, found, Quoted(only));
}

void ReadAttention(ConfigFields& fields, ModelShape& shape) {
  shape.heads = Dim(fields, "num_attention_heads");
  const int64_t kv_heads = fields.Int("num_key_value_heads", 1, kMaxDim, shape.heads);
  if (kv_heads != shape.heads) {
    fields.Unsupported("num_key_value_heads", absl::StrCat(kv_heads),
                       "as many as num_attention_heads");
  }
  shape.q_lora_rank = static_cast<int32_t>(fields.Int("q_lora_rank", 0, kMaxDim, 0));
  shape.kv_lora_rank = Dim(fields, "kv_lora_rank");
  shape.qk_nope_dim = Dim(fields, "qk_nope_head_dim");
  shape.qk_rope_dim = Dim(fields, "qk_rope_head_dim");
  shape.v_dim = Dim(fields, "v_head_dim");
  if (shape.qk_rope_dim % 2 != 0) {
    fields.Invalid(
        absl::StrCat("qk_rope_head_dim: expected an even number, found ", shape.qk_rope_dim));
  }
  const int64_t widest = int64_t{shape.heads} *
                         (int64_t{shape.qk_nope_dim} + std::max(shape.qk_rope_dim, shape.v_dim));
  if (widest > kMaxProjection) {
    fields.Invalid(absl::StrCat("num_attention_heads x head size = ", widest, ", expected at most ",
                                kMaxProjection));
  }
  if (fields.Bool("attention_bias", false)) fields.Unsupported("attention_bias", "true", "false");
}

void ReadYarn(ConfigFields& fields, YarnShape& yarn) {
  yarn.factor = fields.Number("factor", 1, 1e6);
  yarn.beta_fast = fields.Number("beta_fast", 1e-6, 1e6, yarn.beta_fast);
  yarn.beta_slow = fields.Number("beta_slow", 1e-6, 1e6, yarn.beta_slow);
  yarn.mscale = fields.Number("mscale", 0, 1e3, yarn.mscale);
  yarn.mscale_all_dim = fields.Number("mscale_all_dim", 0, 1e3, yarn.mscale_all_dim);
  yarn.original_max_positions = fields.Int("original_max_position_embeddings", 1, int64_t{1} << 40);
  if (fields.Has("attention_factor")) {
    fields.Unsupported("attention_factor", "a value of its own", "null");
  }
  if (!fields.Bool("truncate", true)) fields.Unsupported("truncate", "false", "true");
}

// Older files: rope_theta beside a rope_scaling object; newer: both in rope_parameters.
void ReadRope(ConfigFields& fields, const json& text, const std::string& file,
              const std::string& where, ModelShape& shape) {
  const bool is_new = fields.Object("rope_parameters") != nullptr;
  const char* key = is_new ? "rope_parameters" : "rope_scaling";
  const json* object = fields.Object(key);
  constexpr double kMaxTheta = 1e12;
  if (object == nullptr) {
    shape.rope_theta = fields.Number("rope_theta", 1, kMaxTheta);
    return;
  }
  ConfigFields rope(*object, file, absl::StrCat(where, key, "."));
  shape.rope_theta = rope.Has("rope_theta") ? rope.Number("rope_theta", 1, kMaxTheta)
                                            : fields.Number("rope_theta", 1, kMaxTheta);
  const char* type_key = rope.Has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.Text(type_key, "default");
  if (type == "yarn") {
    ReadYarn(rope, shape.yarn);
  } else if (type != "default") {
    rope.Unsupported(type_key, type, "\"yarn\", \"default\"");
  }
  fields.Merge(rope);
}

void ReadRouter(ConfigFields& fields, const std::string& model_type, ModelShape& shape) {
  shape.experts = static_cast<int32_t>(fields.Int("n_routed_experts", 1, 1 << 16));
  shape.top_k = static_cast<int32_t>(fields.Int("num_experts_per_tok", 1, 256));
  shape.expert_groups = static_cast<int32_t>(fields.Int("n_group", 1, 1 << 16, 1));
  shape.top_k_groups = static_cast<int32_t>(fields.Int("topk_group", 1, 1 << 16, 1));
  shape.norm_top_k = fields.Bool("norm_topk_prob", true);
  shape.routed_scaling = static_cast<float>(fields.Number("routed_scaling_factor", 1e-6, 1e6, 1.0));
  // transformers' own class for these two writes no scoring_func: there it is always sigmoid.
  const bool implied = model_type == "deepseek_v3" || model_type == "kimi_k2";
  const std::string scoring = fields.Text("scoring_func", implied ? "sigmoid" : "(absent)");
  if (scoring != "sigmoid") fields.Unsupported("scoring_func", scoring, "\"sigmoid\"");
  RequireText(fields, "topk_method", "noaux_tc");
  if (const int64_t freq = fields.Int("moe_layer_freq", 1, 1 << 16, 1); freq != 1) {
    fields.Unsupported("moe_layer_freq", absl::StrCat(freq), "1");
  }
  if (shape.top_k > shape.experts) {
    fields.Invalid(absl::StrCat("num_experts_per_tok is ", shape.top_k, ", but there are only ",
                                shape.experts, " experts (n_routed_experts)"));
  }
  if (shape.experts % shape.expert_groups != 0 || shape.top_k_groups > shape.expert_groups) {
    fields.Invalid(absl::StrCat("n_group ", shape.expert_groups, " and topk_group ",
                                shape.top_k_groups, " do not fit ", shape.experts, " experts"));
  } else if (shape.top_k > shape.experts / shape.expert_groups * shape.top_k_groups) {
    fields.Invalid(absl::StrCat("num_experts_per_tok is ", shape.top_k, ", but topk_group ",
                                shape.top_k_groups, " leaves fewer experts to choose from"));
  }
}

void ReadExperts(ConfigFields& fields, const std::string& model_type, ModelShape& shape) {
  shape.dense_layers =
      static_cast<int32_t>(fields.Int("first_k_dense_replace", 0, shape.layers, 0));
  if (!fields.Has("n_routed_experts")) shape.dense_layers = shape.layers;
  if (shape.dense_layers > 0) shape.dense_intermediate = Dim(fields, "intermediate_size");
  if (shape.moe_layers() == 0) return;
  ReadRouter(fields, model_type, shape);
  shape.expert_intermediate = Dim(fields, "moe_intermediate_size");
  shape.shared_experts = static_cast<int32_t>(fields.Int("n_shared_experts", 0, 1024, 0));
  for (const auto& [key, value] : {std::pair{"hidden_size", shape.hidden},
                                   std::pair{"moe_intermediate_size", shape.expert_intermediate}}) {
    if (value % kExpertGroup == 0) continue;
    fields.Invalid(absl::StrCat(key, ": expected a multiple of ", kExpertGroup,
                                " (experts are held as INT4 in groups of ", kExpertGroup,
                                "), found ", value));
  }
}

void ReadShape(ConfigFields& fields, const json& text, const std::string& file,
               const std::string& where, const std::string& model_type, ModelShape& shape) {
  shape.hidden = Dim(fields, "hidden_size");
  shape.layers = static_cast<int32_t>(fields.Int("num_hidden_layers", 1, 4096));
  shape.vocab = static_cast<int32_t>(fields.Int("vocab_size", 1, kMaxVocab));
  shape.max_positions = fields.Int("max_position_embeddings", 1, int64_t{1} << 40);
  shape.rms_norm_eps = static_cast<float>(fields.Number("rms_norm_eps", 0, 1, 1e-6));
  RequireText(fields, "hidden_act", "silu");
  ReadAttention(fields, shape);
  ReadRope(fields, text, file, where, shape);
  ReadExperts(fields, model_type, shape);
}

// One group of a compressed-tensors configuration: INT4, symmetric, groups of 32, weights only.
void CheckInt4Group(const json& group, const std::string& file, const std::string& where,
                    ConfigFields& parent) {
  ConfigFields fields(group, file, where);
  RequireText(fields, "format", "pack-quantized");
  if (fields.Has("input_activations")) {
    fields.Unsupported("input_activations", "quantised", "null (weights only)");
  }
  const json* weights = fields.Object("weights");
  if (weights == nullptr) {
    fields.Invalid("\"weights\" is missing");
  } else {
    ConfigFields w(*weights, file, absl::StrCat(where, "weights."));
    if (w.Int("num_bits", 1, 64) != 4) {
      w.Unsupported("num_bits", absl::StrCat(w.Int("num_bits", 1, 64)), "4");
    }
    RequireText(w, "type", "int");
    RequireText(w, "strategy", "group");
    if (const int64_t size = w.Int("group_size", -1, kMaxDim); size != kExpertGroup) {
      w.Unsupported("group_size", absl::StrCat(size), absl::StrCat(kExpertGroup));
    }
    if (!w.Bool("symmetric", true)) w.Unsupported("symmetric", "false", "true");
    if (w.Has("actorder") && w.Text("actorder", "") != "weight") {
      w.Unsupported("actorder", "set", "null");
    }
    fields.Merge(w);
  }
  parent.Merge(fields);
}

WeightFormat ReadCompressedTensors(ConfigFields& fields, const std::string& file,
                                   const std::string& where) {
  RequireText(fields, "format", "pack-quantized");
  const json* groups = fields.Object("config_groups");
  if (groups == nullptr || groups->empty()) {
    fields.Invalid("\"config_groups\" is missing or empty");
    return WeightFormat::kPackedInt4;
  }
  for (const auto& [name, group] : groups->items()) {
    CheckInt4Group(group, file, absl::StrCat(where, "config_groups.", name, "."), fields);
  }
  return WeightFormat::kPackedInt4;
}

WeightFormat ReadFp8(ConfigFields& fields, const json& object) {
  RequireText(fields, "fmt", "e4m3");
  const auto block = object.find("weight_block_size");
  if (block == object.end() || *block != json::array({128, 128})) {
    fields.Unsupported("weight_block_size", block == object.end() ? "(absent)" : block->dump(),
                       "[128, 128]");
  }
  return WeightFormat::kFp8Block128;
}

WeightFormat ReadWeightFormat(ConfigFields& parent, const std::string& file,
                              const std::string& parent_where) {
  const json* object = parent.Object("quantization_config");
  if (object == nullptr) return WeightFormat::kPlain;
  const std::string where = absl::StrCat(parent_where, "quantization_config.");
  ConfigFields fields(*object, file, where);
  const std::string method = fields.Text("quant_method", "(absent)");
  WeightFormat format = WeightFormat::kPlain;
  if (method == "compressed-tensors") {
    format = ReadCompressedTensors(fields, file, where);
  } else if (method == "fp8") {
    format = ReadFp8(fields, *object);
  } else {
    fields.Unsupported("quant_method", method, "\"compressed-tensors\", \"fp8\"");
  }
  parent.Merge(fields);
  return format;
}

void AddIds(std::vector<int32_t> ids, ModelConfig& config) {
  config.eos_ids.insert(config.eos_ids.end(), ids.begin(), ids.end());
}

int32_t FirstId(ConfigFields& outer, ConfigFields& text, const std::string& key) {
  std::vector<int32_t> ids = outer.Ids(key);
  if (ids.empty()) ids = text.Ids(key);
  return ids.empty() ? -1 : ids.front();
}

absl::Status ReadGenerationConfig(const std::string& dir, ModelConfig& config) {
  const std::string file = absl::StrCat(dir, "/generation_config.json");
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return absl::OkStatus();
  TANDEM_ASSIGN_OR_RETURN(const json root, ReadJsonFile(file));
  ConfigFields fields(root, file);
  AddIds(fields.Ids("eos_token_id"), config);
  return fields.status();
}

// End tokens outside the vocabulary would never come; they hint at files of two different models.
absl::Status FinishIds(const std::string& dir, ModelConfig& config) {
  std::sort(config.eos_ids.begin(), config.eos_ids.end());
  config.eos_ids.erase(std::unique(config.eos_ids.begin(), config.eos_ids.end()),
                       config.eos_ids.end());
  if (config.eos_ids.empty() || config.eos_ids.back() < config.shape.vocab) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      dir, "/config.json: eos_token_id ", config.eos_ids.back(),
      " (here or in generation_config.json) is not below vocab_size ", config.shape.vocab));
}

}  // namespace

std::string_view Name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kPlain:
      return "plain";
    case WeightFormat::kPackedInt4:
      return "pack-quantized INT4";
    case WeightFormat::kFp8Block128:
      return "FP8 in 128 x 128 blocks";
  }
  return "?";
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& dir) {
  const std::string file = absl::StrCat(dir, "/config.json");
  TANDEM_ASSIGN_OR_RETURN(const json root, ReadJsonFile(file));
  ConfigFields outer(root, file);
  const json* nested = outer.Object("text_config");
  const json& text = nested != nullptr ? *nested : root;
  const std::string where = nested != nullptr ? "text_config." : "";
  ConfigFields fields(text, file, where);
  TANDEM_RETURN_IF_ERROR(outer.status());

  ModelConfig config;
  config.model_type = outer.Text("model_type", "");
  config.text_model_type = fields.Text("model_type", config.model_type);
  ReadShape(fields, text, file, where, config.text_model_type, config.shape);
  const bool inside = fields.Has("quantization_config");
  config.weight_format =
      inside ? ReadWeightFormat(fields, file, where) : ReadWeightFormat(outer, file, "");
  config.tie_word_embeddings =
      fields.Bool("tie_word_embeddings", outer.Bool("tie_word_embeddings", false));
  config.bos_id = FirstId(outer, fields, "bos_token_id");
  config.pad_id = FirstId(outer, fields, "pad_token_id");
  AddIds(outer.Ids("eos_token_id"), config);
  if (nested != nullptr) AddIds(fields.Ids("eos_token_id"), config);
  if (const int64_t n = fields.Int("num_nextn_predict_layers", 0, 1024, 0); n > 0) {
    LogInfo("{}: {} multi-token-prediction layers are not used", file, n);
  }
  outer.Merge(fields);
  TANDEM_RETURN_IF_ERROR(outer.status());
  TANDEM_RETURN_IF_ERROR(ReadGenerationConfig(dir, config));
  TANDEM_RETURN_IF_ERROR(FinishIds(dir, config));
  return config;
}

}  // namespace tandem
