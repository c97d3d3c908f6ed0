#include "engine/checkpoint/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/engine_checkpoint/files.h"

namespace tandem {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ModelConfigTest : public testing::Test {
 protected:
  absl::StatusOr<ModelConfig> Read(const json& config) {
    WriteFile(dir_.File("config.json"), config.dump());
    return ReadModelConfig(dir_.path());
  }
  void ExpectRefused(const json& config, const std::string& what,
                     absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    const auto read = Read(config);
    ASSERT_FALSE(read.ok()) << "accepted, expected: " << what;
    EXPECT_EQ(read.status().code(), code) << read.status();
    EXPECT_THAT(std::string(read.status().message()), HasSubstr("/config.json: "));
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(what));
  }
  void ExpectUnsupported(const json& config, const std::string& what) {
    ExpectRefused(config, what, absl::StatusCode::kUnimplemented);
  }

  TempDir dir_;
};

json Int4Quantization() {
  return json::parse(R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
      "config_groups": {"group_0": {"input_activations": null, "targets": ["Linear"],
        "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32,
                    "symmetric": true, "actorder": null}}}})");
}

json With(json config, const std::string& key, json value) {
  config[key] = std::move(value);
  return config;
}

TEST_F(ModelConfigTest, ReadsAFlatFile) {
  const auto config = Read(TinyConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->shape.hidden, 64);
  EXPECT_EQ(config->shape.layers, 2);
  EXPECT_EQ(config->shape.dense_layers, 1);
  EXPECT_EQ(config->shape.q_lora_rank, 24);
  EXPECT_EQ(config->shape.qk_dim(), 24);
  EXPECT_EQ(config->shape.cache_dim(), 40);
  EXPECT_EQ(config->shape.yarn.factor, 1.0);
  EXPECT_EQ(config->weight_format, WeightFormat::kPlain);
  EXPECT_THAT(config->eos_ids, ElementsAre(346));
}

// Nested as K2.5/K2.6 write it, the outer object's ids and quantisation in either place.
TEST_F(ModelConfigTest, ReadsANestedFile) {
  json text = TinyConfig();
  text["model_type"] = "kimi_k2";
  text["eos_token_id"] = 345;
  text["quantization_config"] = Int4Quantization();
  const json outer = {{"model_type", "kimi_k25"},
                      {"eos_token_id", {346, 347}},
                      {"pad_token_id", 599},
                      {"text_config", text},
                      {"vision_config", json::object()}};
  const auto config = Read(outer);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model_type, "kimi_k25");
  EXPECT_EQ(config->text_model_type, "kimi_k2");
  EXPECT_EQ(config->weight_format, WeightFormat::kPackedInt4);
  EXPECT_THAT(config->eos_ids, ElementsAre(345, 346, 347));
  EXPECT_EQ(config->bos_id, 344);
  EXPECT_EQ(config->pad_id, 599);

  json moved = outer;
  moved["text_config"].erase("quantization_config");
  moved["quantization_config"] = Int4Quantization();
  const auto on_top = Read(moved);
  ASSERT_TRUE(on_top.ok()) << on_top.status();
  EXPECT_EQ(on_top->weight_format, WeightFormat::kPackedInt4);
}

TEST_F(ModelConfigTest, ReadsTheModelsOwnFile) {
  const char* data = std::getenv("TANDEM_KIMI_DATA");
  if (data == nullptr) GTEST_SKIP() << "TANDEM_KIMI_DATA does not name the folder of Kimi's files";
  const auto config = ReadModelConfig(data);
  ASSERT_TRUE(config.ok()) << config.status();
  const ModelShape& shape = config->shape;
  EXPECT_EQ(shape.hidden, 7168);
  EXPECT_EQ(shape.layers, 61);
  EXPECT_EQ(shape.moe_layers(), 60);
  EXPECT_EQ(shape.dense_intermediate, 18432);
  EXPECT_EQ(shape.experts, 384);
  EXPECT_EQ(shape.top_k, 8);
  EXPECT_EQ(shape.max_positions, 262144);
  EXPECT_FLOAT_EQ(shape.routed_scaling, 2.827f);
  EXPECT_FLOAT_EQ(shape.rms_norm_eps, 1e-5f);
  EXPECT_EQ(shape.rope_theta, 50000);
  EXPECT_EQ(shape.yarn.factor, 64);
  EXPECT_EQ(shape.yarn.beta_fast, 32);
  EXPECT_EQ(shape.yarn.original_max_positions, 4096);
  EXPECT_EQ(shape.yarn.mscale_all_dim, 1);
  EXPECT_EQ(config->weight_format, WeightFormat::kPackedInt4);
  EXPECT_THAT(config->eos_ids, ElementsAre(163586));
}

TEST_F(ModelConfigTest, ReadsRopeInAllItsForms) {
  json yarn = {{"type", "yarn"},
               {"factor", 40},
               {"beta_fast", 32},
               {"beta_slow", 1},
               {"mscale", 1.0},
               {"mscale_all_dim", 1.0},
               {"original_max_position_embeddings", 4096}};
  const auto old_key = Read(With(TinyConfig(), "rope_scaling", yarn));
  ASSERT_TRUE(old_key.ok()) << old_key.status();
  EXPECT_EQ(old_key->shape.yarn.factor, 40);

  yarn.erase("type");
  yarn["rope_type"] = "yarn";
  const auto new_key = Read(With(TinyConfig(), "rope_scaling", yarn));
  ASSERT_TRUE(new_key.ok()) << new_key.status();
  EXPECT_EQ(new_key->shape.yarn.factor, 40);

  json parameters = TinyConfig();
  parameters.erase("rope_theta");
  yarn["rope_theta"] = 12345.0;
  parameters["rope_parameters"] = yarn;
  const auto newest = Read(parameters);
  ASSERT_TRUE(newest.ok()) << newest.status();
  EXPECT_EQ(newest->shape.yarn.factor, 40);
  EXPECT_EQ(newest->shape.rope_theta, 12345.0);

  yarn["rope_type"] = "longrope";
  ExpectUnsupported(With(TinyConfig(), "rope_scaling", yarn),
                    "rope_scaling.rope_type = \"longrope\" is not supported");
}

TEST_F(ModelConfigTest, AddsTheIdsOfGenerationConfig) {
  WriteFile(dir_.File("generation_config.json"), R"({"eos_token_id": [345, 346]})");
  const auto config = Read(TinyConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->eos_ids, ElementsAre(345, 346));
  WriteFile(dir_.File("generation_config.json"), R"({"eos_token_id": "end"})");
  EXPECT_THAT(std::string(Read(TinyConfig()).status().message()),
              HasSubstr("generation_config.json: eos_token_id: expected a token id"));
}

TEST_F(ModelConfigTest, AcceptsAbsentQueryRankAndNoExperts) {
  const auto plain_q = Read(With(TinyConfig(), "q_lora_rank", nullptr));
  ASSERT_TRUE(plain_q.ok()) << plain_q.status();
  EXPECT_EQ(plain_q->shape.q_lora_rank, 0);
  const auto dense = Read(With(TinyConfig(), "n_routed_experts", nullptr));
  ASSERT_TRUE(dense.ok()) << dense.status();
  EXPECT_EQ(dense->shape.moe_layers(), 0);
}

TEST_F(ModelConfigTest, RefusesValuesThatMakeNoSense) {
  ExpectRefused(With(TinyConfig(), "hidden_size", nullptr),
                "hidden_size: expected an integer in [1, 1048576], found nothing");
  ExpectRefused(With(TinyConfig(), "hidden_size", "64"), "found \"\\\"64\\\"\"");
  ExpectRefused(With(TinyConfig(), "hidden_size", 0), "found \"0\"");
  ExpectRefused(With(TinyConfig(), "hidden_size", 48), "expected a multiple of 32");
  ExpectRefused(With(TinyConfig(), "num_hidden_layers", 1e300), "num_hidden_layers");
  ExpectRefused(With(TinyConfig(), "num_hidden_layers", UINT64_MAX), "num_hidden_layers");
  ExpectRefused(With(TinyConfig(), "num_experts_per_tok", 5), "only 4 experts");
  ExpectRefused(With(TinyConfig(), "n_group", 3), "do not fit 4 experts");
  ExpectRefused(With(TinyConfig(), "first_k_dense_replace", 3), "first_k_dense_replace");
  ExpectRefused(With(TinyConfig(), "qk_rope_head_dim", 7), "an even number");
  ExpectRefused(With(TinyConfig(), "num_attention_heads", 1 << 20), "num_key_value_heads",
                absl::StatusCode::kUnimplemented);
  ExpectRefused(With(TinyConfig(), "rms_norm_eps", -1), "rms_norm_eps");
  ExpectRefused(With(TinyConfig(), "text_config", 3), "text_config: expected an object");
  ExpectRefused(With(TinyConfig(), "eos_token_id", 600), "is not below vocab_size 600");
}

TEST_F(ModelConfigTest, NamesWhatIsNotSupported) {
  ExpectUnsupported(With(TinyConfig(), "hidden_act", "gelu"), "hidden_act = \"gelu\"");
  ExpectUnsupported(With(TinyConfig(), "attention_bias", true), "attention_bias");
  ExpectUnsupported(With(TinyConfig(), "scoring_func", "softmax"), "scoring_func = \"softmax\"");
  ExpectUnsupported(With(TinyConfig(), "topk_method", "greedy"), "topk_method");
  ExpectUnsupported(With(TinyConfig(), "moe_layer_freq", 2), "moe_layer_freq");
  ExpectUnsupported(With(TinyConfig(), "quantization_config", {{"quant_method", "awq"}}),
                    "quant_method = \"awq\" is not supported; supported: \"compressed-tensors\"");
  json quantization = Int4Quantization();
  quantization["config_groups"]["group_0"]["weights"]["group_size"] = 128;
  ExpectUnsupported(With(TinyConfig(), "quantization_config", quantization),
                    "quantization_config.config_groups.group_0.weights.group_size = \"128\"");
  quantization = Int4Quantization();
  quantization["config_groups"]["group_0"]["weights"]["num_bits"] = 8;
  ExpectUnsupported(With(TinyConfig(), "quantization_config", quantization), "num_bits");
  quantization = Int4Quantization();
  quantization["format"] = "marlin-24";
  ExpectUnsupported(With(TinyConfig(), "quantization_config", quantization), "marlin-24");
  ExpectUnsupported(With(TinyConfig(), "quantization_config",
                         {{"quant_method", "fp8"}, {"weight_block_size", {64, 64}}}),
                    "weight_block_size = \"[64,64]\"");
}

// There is nothing here that could run it.
TEST_F(ModelConfigTest, RemoteCodeIsOnlyText) {
  json config = TinyConfig();
  config["auto_map"] = {{"AutoModelForCausalLM", "modeling_evil.Evil"}, {"AutoConfig", "../../x"}};
  config["trust_remote_code"] = true;
  config["chat_template"] = "{{ ''.__class__.__mro__[1].__subclasses__() }}";
  WriteFile(dir_.File("modeling_evil.py"), "raise SystemExit('run')");
  WriteFile(dir_.File("chat_template.jinja"), "{% for i in range(10**9) %}x{% endfor %}");
  WriteFile(dir_.File("config.json"), config.dump());
  const auto read = ReadModelConfig(dir_.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->shape.hidden, 64);
}

TEST_F(ModelConfigTest, RefusesBrokenFiles) {
  EXPECT_EQ(ReadModelConfig(dir_.path()).status().code(), absl::StatusCode::kNotFound);
  WriteFile(dir_.File("config.json"), "{\"hidden_size\": ");
  EXPECT_THAT(std::string(ReadModelConfig(dir_.path()).status().message()),
              HasSubstr("config.json is not valid JSON"));
  WriteFile(dir_.File("config.json"), TinyConfig().dump() + std::string("\0{", 2));
  EXPECT_THAT(std::string(ReadModelConfig(dir_.path()).status().message()),
              HasSubstr("is not valid JSON at byte"));
  WriteFile(dir_.File("config.json"), "[1]");
  EXPECT_THAT(std::string(ReadModelConfig(dir_.path()).status().message()),
              HasSubstr("expected a JSON object"));
  WriteFile(dir_.File("config.json"), R"({"hidden_size": 64, "hidden_size": 128})");
  EXPECT_THAT(std::string(ReadModelConfig(dir_.path()).status().message()),
              HasSubstr("\"hidden_size\" appears twice"));
  WriteFile(dir_.File("config.json"), std::string(100'000, '['));
  EXPECT_FALSE(ReadModelConfig(dir_.path()).ok());
}

}  // namespace
}  // namespace tandem
