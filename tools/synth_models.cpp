// The shapes `tandem synth` knows by name (kimi_k26: sibling table).
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/synth.h"

namespace tandem {
namespace {

// K2.6; the siblings below say what differs.
ModelShape K26Shape() {
  ModelShape s;
  s.hidden = 7168;
  s.layers = 61;
  s.dense_layers = 1;
  s.dense_intermediate = 18432;
  s.vocab = 163840;
  s.max_positions = 262144;
  s.rms_norm_eps = 1e-5f;
  s.heads = 64;
  s.q_lora_rank = 1536;
  s.kv_lora_rank = 512;
  s.qk_nope_dim = 128;
  s.qk_rope_dim = 64;
  s.v_dim = 128;
  s.rope_theta = 50000;
  s.yarn = {.factor = 64,
            .beta_fast = 32,
            .beta_slow = 1,
            .mscale = 1,
            .mscale_all_dim = 1,
            .original_max_positions = 4096};
  s.experts = 384;
  s.top_k = 8;
  s.expert_intermediate = 2048;
  s.shared_experts = 1;
  s.routed_scaling = 2.827f;
  return s;
}

ModelShape K2ThinkingShape() {
  ModelShape s = K26Shape();
  s.yarn.beta_fast = 1;
  return s;
}

ModelShape K2Shape() {
  ModelShape s = K2ThinkingShape();
  s.yarn.factor = 32;
  s.max_positions = 131072;
  s.rms_norm_eps = 1e-6f;
  return s;
}

ModelShape MoonlightShape() {
  ModelShape s = K26Shape();
  s.hidden = 2048;
  s.layers = 27;
  s.dense_intermediate = 11264;
  s.max_positions = 8192;
  s.heads = 16;
  s.q_lora_rank = 0;
  s.yarn = {};
  s.experts = 64;
  s.top_k = 6;
  s.expert_intermediate = 1408;
  s.shared_experts = 2;
  s.routed_scaling = 2.446f;
  return s;
}

ModelShape DeepSeekV3Shape() {
  ModelShape s = K26Shape();
  s.dense_layers = 3;
  s.vocab = 129280;
  s.max_positions = 163840;
  s.rms_norm_eps = 1e-6f;
  s.heads = 128;
  s.rope_theta = 10000;
  s.yarn.factor = 40;
  s.experts = 256;
  s.expert_groups = 8;
  s.top_k_groups = 4;
  s.routed_scaling = 2.5f;
  return s;
}

// A few MB, and no size a power of two where the formats leave a choice.
ModelShape TinyShape() {
  ModelShape s = K26Shape();
  s.hidden = 160;
  s.layers = 4;
  s.dense_intermediate = 352;
  s.vocab = 1031;
  s.max_positions = 16384;
  s.heads = 3;
  s.q_lora_rank = 72;
  s.kv_lora_rank = 48;
  s.qk_nope_dim = 24;
  s.qk_rope_dim = 16;
  s.v_dim = 40;
  s.yarn.factor = 4;
  s.experts = 11;
  s.top_k = 3;
  s.expert_intermediate = 96;
  return s;
}

}  // namespace

const std::vector<SynthModel>& SynthModels() {
  static const std::vector<SynthModel> models = {
      {"k2.6", "Kimi K2.5 and K2.6: nested config, INT4 experts", K26Shape(), SynthFormat::kInt4,
       true, false},
      {"k2-thinking", "Kimi K2-Thinking: flat config, INT4 experts", K2ThinkingShape(),
       SynthFormat::kInt4, false, false},
      {"k2", "Kimi K2-Instruct: flat config, FP8", K2Shape(), SynthFormat::kFp8, false, false},
      {"moonlight", "Moonlight-16B-A3B: no query rank, BF16", MoonlightShape(),
       SynthFormat::kBf16Experts, false, false},
      {"deepseek-v3", "DeepSeek-V3: expert groups, FP8", DeepSeekV3Shape(), SynthFormat::kFp8,
       false, false},
      {"tiny", "a few MB, odd sizes, K2.6's format", TinyShape(), SynthFormat::kInt4, true, false},
  };
  return models;
}

absl::StatusOr<SynthModel> FindSynthModel(const std::string& name) {
  std::vector<std::string> names;
  for (const SynthModel& model : SynthModels()) {
    if (model.name == name) return model;
    names.push_back(model.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no shape \"", name, "\"; known: ", absl::StrJoin(names, ", ")));
}

}  // namespace tandem
