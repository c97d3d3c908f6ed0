#include "tools/synth_config.h"

#include "engine/text/special_tokens.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

// Offsets into the control slots, which are the last ids of the vocabulary.
constexpr int kBos = 0, kImEnd = 2, kMediaPad = 21, kPad = 255;

int32_t SlotId(const ModelShape& shape, int offset) {
  return shape.vocab - SpecialTokens::kSlots + offset;
}

ordered_json RopeScaling(const YarnShape& yarn) {
  if (yarn.factor == 1.0) return nullptr;
  return {{"beta_fast", yarn.beta_fast},
          {"beta_slow", yarn.beta_slow},
          {"factor", yarn.factor},
          {"mscale", yarn.mscale},
          {"mscale_all_dim", yarn.mscale_all_dim},
          {"original_max_position_embeddings", yarn.original_max_positions},
          {"type", "yarn"}};
}

ordered_json Quantization(SynthFormat format) {
  if (format == SynthFormat::kFp8) {
    return {{"activation_scheme", "dynamic"},
            {"fmt", "e4m3"},
            {"quant_method", "fp8"},
            {"weight_block_size", {128, 128}}};
  }
  const ordered_json weights = {{"actorder", nullptr},
                                {"block_structure", nullptr},
                                {"dynamic", false},
                                {"group_size", 32},
                                {"num_bits", 4},
                                {"observer", "minmax"},
                                {"observer_kwargs", ordered_json::object()},
                                {"strategy", "group"},
                                {"symmetric", true},
                                {"type", "int"}};
  const ordered_json group = {{"input_activations", nullptr},
                              {"output_activations", nullptr},
                              {"targets", {"Linear"}},
                              {"weights", weights}};
  return {{"config_groups", {{"group_0", group}}},
          {"format", "pack-quantized"},
          {"ignore",
           {"lm_head", "re:.*self_attn.*", "re:.*shared_experts.*",
            "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"}},
          {"kv_cache_scheme", nullptr},
          {"quant_method", "compressed-tensors"},
          {"quantization_status", "compressed"}};
}

// A float as config files write it: 1e-05, not 9.99999974e-06.
double Shortest(float value) { return std::stod(ordered_json(value).dump()); }

void AddShape(const ModelShape& s, ordered_json& c) {
  c["hidden_size"] = s.hidden;
  c["num_hidden_layers"] = s.layers;
  c["first_k_dense_replace"] = s.dense_layers;
  c["moe_layer_freq"] = 1;
  c["intermediate_size"] = s.dense_intermediate;
  c["moe_intermediate_size"] = s.expert_intermediate;
  c["n_routed_experts"] = s.experts;
  c["n_shared_experts"] = s.shared_experts;
  c["num_experts_per_tok"] = s.top_k;
  c["n_group"] = s.expert_groups;
  c["topk_group"] = s.top_k_groups;
  c["scoring_func"] = "sigmoid";
  c["topk_method"] = "noaux_tc";
  c["norm_topk_prob"] = s.norm_top_k;
  c["routed_scaling_factor"] = Shortest(s.routed_scaling);
  c["num_attention_heads"] = s.heads;
  c["num_key_value_heads"] = s.heads;
  c["q_lora_rank"] = s.q_lora_rank == 0 ? ordered_json(nullptr) : ordered_json(s.q_lora_rank);
  c["kv_lora_rank"] = s.kv_lora_rank;
  c["qk_nope_head_dim"] = s.qk_nope_dim;
  c["qk_rope_head_dim"] = s.qk_rope_dim;
  c["v_head_dim"] = s.v_dim;
  c["attention_bias"] = false;
  c["attention_dropout"] = 0.0;
  c["hidden_act"] = "silu";
  c["rms_norm_eps"] = Shortest(s.rms_norm_eps);
  c["rope_theta"] = s.rope_theta;
  c["rope_scaling"] = RopeScaling(s.yarn);
  c["max_position_embeddings"] = s.max_positions;
  c["vocab_size"] = s.vocab;
  c["initializer_range"] = 0.02;
  c["num_nextn_predict_layers"] = 0;
  c["ep_size"] = 1;
  c["pretraining_tp"] = 1;
  c["aux_loss_alpha"] = 0.001;
  c["seq_aux"] = true;
  c["use_cache"] = true;
}

void AddIds(const SynthModel& model, ordered_json& c) {
  c["bos_token_id"] = SlotId(model.shape, kBos);
  c["eos_token_id"] = SlotId(model.shape, kImEnd);
  c["pad_token_id"] = SlotId(model.shape, kPad);
  c["dtype"] = "bfloat16";
  c["tie_word_embeddings"] = model.tied;
}

ordered_json Vision(int32_t hidden) {
  return {{"init_pos_emb_height", 64},
          {"init_pos_emb_time", 4},
          {"init_pos_emb_width", 64},
          {"merge_kernel_size", {2, 2}},
          {"merge_type", "sd2_tpool"},
          {"mm_hidden_size", 1152},
          {"mm_projector_type", "patchmerger"},
          {"patch_size", 14},
          {"pos_emb_type", "divided_fixed"},
          {"projector_hidden_act", "gelu"},
          {"projector_ln_eps", 1e-05},
          {"text_hidden_size", hidden},
          {"video_attn_type", "spatial_temporal"},
          {"vt_hidden_size", 1152},
          {"vt_intermediate_size", 4304},
          {"vt_num_attention_heads", 16},
          {"vt_num_hidden_layers", 27}};
}

}  // namespace

ordered_json SynthConfig(const SynthModel& model) {
  const bool groups = model.shape.expert_groups > 1;
  ordered_json text = {
      {"architectures", {"DeepseekV3ForCausalLM"}},
      {"model_type", groups || model.shape.q_lora_rank == 0 ? "deepseek_v3" : "kimi_k2"}};
  AddShape(model.shape, text);
  AddIds(model, text);
  if (model.format != SynthFormat::kBf16Experts) {
    text["quantization_config"] = Quantization(model.format);
  }
  if (!model.nested) return text;
  ordered_json outer = {{"architectures", {"KimiK25ForConditionalGeneration"}},
                        {"model_type", "kimi_k25"},
                        {"ignore_index", -100},
                        {"media_placeholder_token_id", SlotId(model.shape, kMediaPad)},
                        {"use_unified_vision_chunk", true},
                        {"video_placeholder", "<|kimi_k25_video_placeholder|>"}};
  AddIds(model, outer);
  outer["text_config"] = text;
  outer["vision_config"] = Vision(model.shape.hidden);
  return outer;
}

ordered_json SynthGenerationConfig(const SynthModel& model) {
  return {{"eos_token_id", SlotId(model.shape, kImEnd)}, {"max_length", model.shape.max_positions}};
}

}  // namespace tandem
