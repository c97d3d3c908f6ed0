// Models that load and are wrong: an engine over them refuses to start, or fails the requests that
// meet the damage, and nothing else.
#include <gmock/gmock.h>

#include <filesystem>

#include "engine/engine.h"
#include "tests/engine_checkpoint/synth_checkpoints.h"

namespace tandem {
namespace {

using testing::HasSubstr;

// One that an engine takes.
SynthModel WholeModel() {
  SynthModel model = *FindSynthModel("tiny");
  model.shape.layers = 2;
  model.shape.vocab = 613;
  return model;
}

class DamagedModel : public testing::Test {
 protected:
  void SetUp() override { WriteCheckpoint(dir_.path(), WholeModel()); }

  // Sets all values of the BF16 tensors whose name ends so; false if there are none.
  bool Fill(const std::string& suffix, uint16_t bits) {
    bool found = false;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      if (entry.path().extension() != ".safetensors") continue;
      std::string file = ReadFile(entry.path());
      uint64_t header_bytes = 0;
      std::memcpy(&header_bytes, file.data(), 8);
      const auto header = nlohmann::json::parse(file.substr(8, header_bytes));
      for (const auto& [name, tensor] : header.items()) {
        if (!name.ends_with(suffix)) continue;
        EXPECT_EQ(tensor["dtype"], "BF16") << name;
        const auto& range = tensor["data_offsets"];
        for (uint64_t at = range[0]; at < range[1].get<uint64_t>(); at += 2)
          std::memcpy(file.data() + 8 + header_bytes + at, &bits, 2);
        found = true;
      }
      WriteFile(entry.path(), file);
    }
    return found;
  }
  absl::StatusOr<std::unique_ptr<Engine>> Start(DenseDType dense = DenseDType::kInt8) {
    EngineOptions options;
    options.dense_dtype = dense;
    options.model_dir = dir_.path();
    options.threads = 2;
    options.max_step_tokens = 32;
    options.max_sequences = 4;
    options.kv_tokens = 512;
    return Engine::Create(options);
  }
  static absl::StatusOr<GenerationEvent> Ask(Engine& engine) {
    GenerationRequest request;
    request.prompt_ids = {1, 2, 3, 4, 5, 6, 7};
    request.max_tokens = 4;
    request.sampling.temperature = 0;
    return RunToEnd(engine, request);
  }
  TempDir dir_;
};

TEST_F(DamagedModel, ATokenizerWithMoreIdsThanTheEmbeddingHasRows) {
  TempDir other;
  SynthModel larger = WholeModel();
  larger.shape.vocab += 1;
  WriteCheckpoint(other.path(), larger);
  ASSERT_TRUE(Start().ok()) << Start().status();
  for (const char* file : {"tiktoken.model", "tokenizer_config.json"})
    WriteFile(dir_.File(file), ReadFile(other.File(file)));
  const absl::Status refused = Start().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("ids up to 613"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("vocab_size is 613"));
}

// Quantised activations may swallow it: then the answer is nonsense, of tokens that exist. Where it
// reaches the logits the request fails.
TEST_F(DamagedModel, NumbersThatAreNone) {
  int refused = 0;
  const uint16_t kNan = 0x7fc0, kInfinity = 0x7f80;
  for (const char* suffix : {"down_proj.weight_scale", "gate_proj.weight_scale",
                             "input_layernorm.weight", "kv_b_proj.weight"}) {
    for (const uint16_t bits : {kNan, kInfinity}) {
      WriteCheckpoint(dir_.path(), WholeModel());
      ASSERT_TRUE(Fill(suffix, bits)) << suffix;
      for (const DenseDType dense : {DenseDType::kInt8, DenseDType::kBf16}) {
        const auto engine = Start(dense);
        ASSERT_TRUE(engine.ok()) << engine.status();
        const auto answer = Ask(**engine);
        ASSERT_TRUE(answer.ok()) << answer.status();
        if (answer->finish == FinishReason::kError) {
          EXPECT_THAT(std::string(answer->status.message()), HasSubstr("not finite"));
          ++refused;
        }
        for (const GeneratedToken& token : answer->tokens)
          EXPECT_TRUE(token.id >= 0 && token.id < 613) << suffix << bits;
      }
    }
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace tandem
