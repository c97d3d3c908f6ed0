#include "engine/checkpoint/weight_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/convert.h"
#include "tests/engine_checkpoint/synth_checkpoints.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;

// A checkpoint in one file whose tensors a test can exchange.
class EditableCheckpoint {
 public:
  explicit EditableCheckpoint(const SynthModel& model) {
    WriteCheckpoint(dir_.path(), model);
    const auto checkpoint = OpenCheckpoint(dir_.path());
    const auto index = ordered_json::parse(ReadFile(dir_.File("model.safetensors.index.json")));
    for (const auto& [name, file] : index["weight_map"].items()) {
      const TensorRef* t = checkpoint->Lookup(name);
      tensors_.push_back({name,
                          std::string(Name(t->dtype)),
                          {t->shape.begin(), t->shape.end()},
                          {reinterpret_cast<const char*>(t->bytes.data()), t->bytes.size()}});
      std::filesystem::remove(dir_.File(file));
    }
    std::filesystem::remove(dir_.File("model.safetensors.index.json"));
  }
  struct Tensor {
    std::string name, dtype;
    std::vector<int64_t> shape;
    std::string bytes;
  };
  // The tensor whose name ends like this.
  Tensor& At(const std::string& suffix) {
    for (Tensor& t : tensors_) {
      if (t.name.size() >= suffix.size() &&
          t.name.compare(t.name.size() - suffix.size(), suffix.size(), suffix) == 0) {
        return t;
      }
    }
    ADD_FAILURE() << "no tensor ends in " << suffix;
    return tensors_.front();
  }
  std::vector<Tensor>& all() { return tensors_; }
  void Remove(const std::string& suffix) {
    const std::string name = At(suffix).name;
    std::erase_if(tensors_, [&](const Tensor& t) { return t.name == name; });
  }
  void EditConfig(const std::string& key, const ordered_json& value) {
    auto config = ordered_json::parse(ReadFile(dir_.File("config.json")));
    config[key] = value;
    WriteFile(dir_.File("config.json"), config.dump());
  }
  std::unique_ptr<Checkpoint> Write() {
    SafetensorsText text;
    for (const Tensor& t : tensors_) text.Add(t.name, t.dtype, t.shape, t.bytes);
    WriteFile(dir_.File("model.safetensors"), text.Build());
    return OpenCheckpoint(dir_.path());
  }

 private:
  TempDir dir_;
  std::vector<Tensor> tensors_;
};

void ExpectIncomplete(EditableCheckpoint& edited, const std::string& what) {
  const auto checkpoint = edited.Write();
  ASSERT_NE(checkpoint, nullptr);
  const auto checked = WeightReader(*checkpoint).CheckComplete();
  ASSERT_FALSE(checked.ok()) << "accepted, expected: " << what;
  EXPECT_THAT(std::string(checked.status().message()), HasSubstr(what));
}

float Weight(const Int4Matrix& m, int64_t o, int64_t i) {
  return static_cast<float>((m.packed(o, i / 2) >> (i % 2 * 4) & 15) - 8) *
         ToFloat(m.scales(o, i / 32));
}

class EveryKind : public testing::TestWithParam<std::pair<const char*, SynthModel (*)()>> {};

TEST_P(EveryKind, IsCompleteAndEveryPartLoads) {
  TempDir dir;
  const SynthModel model = GetParam().second();
  WriteCheckpoint(dir.path(), model);
  const auto checkpoint = OpenCheckpoint(dir.path());
  ASSERT_NE(checkpoint, nullptr);
  const WeightReader reader(*checkpoint);
  EXPECT_EQ(reader.quantizes_experts(), model.format != SynthFormat::kInt4);
  const auto sizes = reader.CheckComplete();
  ASSERT_TRUE(sizes.ok()) << sizes.status();
  EXPECT_EQ(sizes->dense_bytes + sizes->expert_bytes, checkpoint->total_bytes());

  int64_t read_bytes = 0;
  const auto globals = reader.Globals();
  ASSERT_TRUE(globals.ok()) << globals.status();
  read_bytes += globals->source_bytes();
  const ModelShape& s = model.shape;
  EXPECT_EQ(globals->weights.embedding.shape(), (MatrixView::Index{s.vocab, s.hidden}));
  EXPECT_EQ(globals->weights.head.shape(), (MatrixView::Index{s.vocab, s.hidden}));
  EXPECT_EQ(globals->weights.head.data() == globals->weights.embedding.data(), model.tied);
  for (int32_t l = 0; l < s.layers; ++l) {
    const auto layer = reader.Layer({l});
    ASSERT_TRUE(layer.ok()) << layer.status();
    read_bytes += layer->source_bytes();
    const LayerWeights& w = layer->weights;
    EXPECT_EQ(w.attention.q_proj.empty(), s.q_lora_rank != 0);
    EXPECT_EQ(w.attention.q_a.empty(), s.q_lora_rank == 0);
    EXPECT_EQ(w.attention.o_proj.shape(), (MatrixView::Index{s.hidden, s.heads * s.v_dim}));
    EXPECT_EQ(w.dense.gate.empty(), s.is_moe(l));
    EXPECT_EQ(w.router.gate.empty(), !s.is_moe(l));
    if (!s.is_moe(l)) continue;
    EXPECT_EQ(w.shared.down.shape(), (MatrixView::Index{s.hidden, s.shared_intermediate()}));
    for (int32_t e = 0; e < s.experts; ++e) {
      const auto expert = reader.Expert({l}, {e});
      ASSERT_TRUE(expert.ok()) << expert.status();
      read_bytes += expert->source_bytes();
      EXPECT_EQ(expert->weights.down.packed.shape(),
                (View<const uint8_t, 2>::Index{s.hidden, s.expert_intermediate / 2}));
      expert->DropSources();
      EXPECT_GT(ToFloat(expert->weights.gate.scales(0, 0)), 0) << "still there after the drop";
    }
  }
  EXPECT_EQ(read_bytes, checkpoint->total_bytes());
}

INSTANTIATE_TEST_SUITE_P(WeightReader, EveryKind,
                         testing::Values(std::pair{"k26", &SmallModel},
                                         std::pair{"moonlight", &MoonlightLike},
                                         std::pair{"deepseek_fp8", &DeepSeekLike},
                                         std::pair{"tied", &TiedModel}),
                         [](const auto& info) { return info.param.first; });

// The example of the format's description: q = -8,-7,-1,0,1,2,6,7 is the word 0xFEA98710.
TEST(WeightReader, ReadsNibblesInTheFormatsOrder) {
  EditableCheckpoint edited(SmallModel());
  auto& packed = edited.At("layers.1.mlp.experts.0.gate_proj.weight_packed");
  const uint32_t word = 0xFEA98710u;
  std::memcpy(packed.bytes.data(), &word, 4);
  const auto checkpoint = edited.Write();
  ASSERT_NE(checkpoint, nullptr);
  const auto expert = WeightReader(*checkpoint).Expert({1}, {0});
  ASSERT_TRUE(expert.ok()) << expert.status();
  const Int4Matrix& gate = expert->weights.gate;
  const float scale = ToFloat(gate.scales(0, 0));
  const int expected[] = {-8, -7, -1, 0, 1, 2, 6, 7};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(Weight(gate, 0, i), expected[i] * scale) << i;
}

TEST(WeightReader, AcceptsTheNamesInUse) {
  for (const auto& [from, to, head] :
       {std::tuple{"language_model.model.", "model.", "lm_head.weight"},
        std::tuple{"language_model.model.", "language_model.", "language_model.lm_head.weight"},
        std::tuple{"language_model.model.", "model.language_model.", "lm_head.weight"}}) {
    EditableCheckpoint edited(SmallModel());
    for (auto& t : edited.all()) {
      const std::string prefix = from;
      t.name = t.name.rfind(prefix, 0) == 0 ? to + t.name.substr(prefix.size()) : head;
    }
    const auto checkpoint = edited.Write();
    ASSERT_NE(checkpoint, nullptr);
    const auto checked = WeightReader(*checkpoint).CheckComplete();
    EXPECT_TRUE(checked.ok()) << checked.status();
  }
}

TEST(WeightReader, ConvertsOtherFloatTypes) {
  EditableCheckpoint edited(SmallModel());
  auto& norm = edited.At("layers.1.input_layernorm.weight");
  std::vector<float> floats(96);
  for (int i = 0; i < 96; ++i) floats[i] = 1.0f + static_cast<float>(i) / 1000.0f;
  norm.dtype = "F32";
  norm.bytes = Bytes(floats);
  auto& q_b = edited.At("layers.1.self_attn.q_b_proj.weight");
  q_b.dtype = "F16";
  const uint16_t half = 0x3555;  // 0.33325
  std::memcpy(q_b.bytes.data() + 2, &half, 2);
  auto& bias = edited.At("layers.1.mlp.gate.e_score_correction_bias");
  bias.dtype = "BF16";
  bias.bytes = Bytes(std::vector<bf16>(5, ToBf16(0.5f)));
  auto& gate = edited.At("layers.1.mlp.gate.weight");
  gate.dtype = "F32";
  gate.bytes = Bytes(std::vector<float>(5 * 96, 0.25f));
  const auto checkpoint = edited.Write();
  ASSERT_NE(checkpoint, nullptr);
  const auto layer = WeightReader(*checkpoint).Layer({1});
  ASSERT_TRUE(layer.ok()) << layer.status();
  for (int i = 0; i < 96; ++i) {
    EXPECT_EQ(layer->weights.attention.input_norm(i).bits, ToBf16(floats[i]).bits);
  }
  EXPECT_EQ(ToFloat(layer->weights.attention.q_b(0, 1)), ToFloat(ToBf16(0.33325f)));
  EXPECT_EQ(layer->weights.router.bias(4), 0.5f);
  EXPECT_EQ(layer->weights.router.gate(4, 95), 0.25f);
}

// BF16 experts become INT4 within half a step of the group's scale.
TEST(WeightReader, QuantizesExperts) {
  for (const SynthModel& model : {MoonlightLike(), DeepSeekLike()}) {
    TempDir dir;
    WriteCheckpoint(dir.path(), model);
    const auto checkpoint = OpenCheckpoint(dir.path());
    const auto expert = WeightReader(*checkpoint).Expert({1}, {2});
    ASSERT_TRUE(expert.ok()) << expert.status();
    const std::string name = "model.layers.1.mlp.experts.2.up_proj.weight";
    const auto tensor = checkpoint->Find(name);
    ASSERT_TRUE(tensor.ok());
    std::vector<float> weights(tensor->shape[0] * tensor->shape[1]);
    ToFloats(tensor->dtype, tensor->bytes, weights);
    const int64_t out = tensor->shape[0], in = tensor->shape[1];
    std::vector<float> block_scales((out + 127) / 128 * ((in + 127) / 128), 1.0f);
    if (model.format == SynthFormat::kFp8) {
      const auto blocks = checkpoint->Find(name + "_scale_inv");
      ASSERT_TRUE(blocks.ok());
      ToFloats(DType::kF32, blocks->bytes, block_scales);
    }
    const Int4Matrix& up = expert->weights.up;
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        const float expected =
            weights[o * in + i] * block_scales[o / 128 * ((in + 127) / 128) + i / 128];
        // Half a step (a little more where the largest weight is cut to 7), and BF16's rounding.
        const float step = ToFloat(up.scales(o, i / 32));
        ASSERT_NEAR(Weight(up, o, i), expected, step * 0.54f + std::abs(expected) * 0.005f)
            << o << "," << i;
      }
    }
  }
}

TEST(WeightReader, ReadsFp8BlocksAtTheEdges) {
  TempDir dir;
  WriteCheckpoint(dir.path(), DeepSeekLike());
  const auto checkpoint = OpenCheckpoint(dir.path());
  const auto layer = WeightReader(*checkpoint).Layer({0});
  ASSERT_TRUE(layer.ok()) << layer.status();
  const auto weight = checkpoint->Find("model.layers.0.mlp.gate_proj.weight");
  const auto scales = checkpoint->Find("model.layers.0.mlp.gate_proj.weight_scale_inv");
  ASSERT_TRUE(weight.ok() && scales.ok());
  ASSERT_EQ(scales->shape, (TensorDims{2, 2}));  // 200 x 160
  for (const auto& [o, i] : {std::pair{0, 0}, {127, 127}, {127, 128}, {128, 127}, {199, 159}}) {
    float scale;
    std::memcpy(&scale, scales->bytes.data() + 4 * (o / 128 * 2 + i / 128), 4);
    const float raw = Fp8E4M3ToFloat(static_cast<uint8_t>(weight->bytes[o * 160 + i]));
    EXPECT_EQ(layer->weights.dense.gate(o, i).bits, ToBf16(raw * scale).bits) << o << "," << i;
  }
}

TEST(WeightReader, ReadsPackedInt4OnTheDenseSide) {
  EditableCheckpoint edited(SmallModel());
  auto& down = edited.At("layers.1.mlp.shared_experts.down_proj.weight");  // [96, 64]
  const std::string stem = down.name.substr(0, down.name.size() - 7);
  down = {stem + ".weight_packed", "U8", {96, 32}, std::string(96 * 32, '\xA7')};
  edited.all().push_back(
      {stem + ".weight_scale", "BF16", {96, 2}, Bytes(std::vector<bf16>(192, ToBf16(0.5f)))});
  const auto checkpoint = edited.Write();
  ASSERT_NE(checkpoint, nullptr);
  const auto layer = WeightReader(*checkpoint).Layer({1});
  ASSERT_TRUE(layer.ok()) << layer.status();
  EXPECT_EQ(ToFloat(layer->weights.shared.down(95, 62)), -0.5f);
  EXPECT_EQ(ToFloat(layer->weights.shared.down(95, 63)), 1.0f);
}

TEST(WeightReader, ViewsOfTensorsAtOddPlacesAreCopied) {
  EditableCheckpoint edited(SmallModel());
  edited.all().insert(edited.all().begin(), {"odd", "U8", {1}, "x"});
  const auto checkpoint = edited.Write();
  ASSERT_NE(checkpoint, nullptr);
  const auto layer = WeightReader(*checkpoint).Layer({0});
  ASSERT_TRUE(layer.ok()) << layer.status();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(layer->weights.attention.q_a.data()) % 2, 0u);
  const auto tensor = checkpoint->Find("language_model.model.layers.0.self_attn.q_a_proj.weight");
  EXPECT_EQ(
      std::memcmp(layer->weights.attention.q_a.data(), tensor->bytes.data(), tensor->bytes.size()),
      0);
}

TEST(WeightReader, NamesWhatIsMissing) {
  EditableCheckpoint edited(SmallModel());
  edited.Remove("layers.2.self_attn.o_proj.weight");
  ExpectIncomplete(edited,
                   "layers.2.self_attn.o_proj.weight\" is missing; expected BF16 or F16 or "
                   "F32 or F8_E4M3 [96, 120]");
  edited.Remove("layers.2.mlp.experts.4.down_proj.weight_scale");
  ExpectIncomplete(edited, "(and 1 more problems)");
}

TEST(WeightReader, NamesMissingParts) {
  const auto expect = [](const std::string& removed, const std::string& what) {
    EditableCheckpoint edited(SmallModel());
    edited.Remove(removed);
    ExpectIncomplete(edited, what);
  };
  expect("embed_tokens.weight", "there is no tensor");
  expect("lm_head.weight", "lm_head.weight\" is missing");
  expect("layers.1.mlp.experts.0.up_proj.weight_packed", "up_proj.weight_packed\" is missing");
  expect("layers.1.mlp.gate.e_score_correction_bias", "e_score_correction_bias\" is missing");
}

TEST(WeightReader, NamesWrongShapesAndDtypes) {
  const auto expect = [](const std::string& suffix, const std::string& dtype,
                         std::vector<int64_t> shape, const std::string& what) {
    EditableCheckpoint edited(SmallModel());
    auto& tensor = edited.At(suffix);
    if (!dtype.empty()) tensor.dtype = dtype;
    if (!shape.empty()) tensor.shape = std::move(shape);
    ExpectIncomplete(edited, what);
  };
  expect("layers.1.self_attn.q_a_proj.weight", "", {96, 40},
         "q_a_proj.weight\": expected BF16 or F16 or F32 or F8_E4M3 [40, 96], found BF16 [96, 40]");
  expect("layers.1.self_attn.q_a_proj.weight", "I16", {}, "found I16 [40, 96]");
  expect("layers.2.mlp.experts.1.down_proj.weight_packed", "", {64, 12},
         "expected I32 [96, 8], found I32 [64, 12]");
  expect("layers.2.mlp.experts.1.down_proj.weight_scale", "I16", {}, "found I16 [96, 2]");
  expect("layers.2.mlp.experts.1.down_proj.weight_shape", "F32", {}, "expected I32 or I64 [2]");
}

TEST(WeightReader, ComparesWeightShapeWithTheConfig) {
  EditableCheckpoint edited(SmallModel());
  edited.At("layers.1.mlp.experts.3.gate_proj.weight_shape").bytes =
      Bytes(std::vector<int32_t>{64, 128});
  const auto checkpoint = edited.Write();
  ASSERT_NE(checkpoint, nullptr);
  const WeightReader reader(*checkpoint);
  EXPECT_TRUE(reader.Expert({1}, {2}).ok());
  EXPECT_THAT(std::string(reader.Expert({1}, {3}).status().message()),
              HasSubstr("expected the values [64, 96], found [64, 128]"));
}

TEST(WeightReader, AcceptsWeightShapeAsI64) {
  EditableCheckpoint edited(SmallModel());
  auto& shape = edited.At("layers.1.mlp.experts.3.gate_proj.weight_shape");
  shape.dtype = "I64";
  shape.bytes = Bytes(std::vector<int64_t>{64, 96});
  const auto checkpoint = edited.Write();
  ASSERT_NE(checkpoint, nullptr);
  const auto expert = WeightReader(*checkpoint).Expert({1}, {3});
  EXPECT_TRUE(expert.ok()) << expert.status();
}

TEST(Convert, HalfAndFp8) {
  EXPECT_EQ(HalfToFloat(0x3c00), 1.0f);
  EXPECT_EQ(HalfToFloat(0xc000), -2.0f);
  EXPECT_EQ(HalfToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(HalfToFloat(0x83ff), -1023 * 0x1p-24f);
  EXPECT_TRUE(std::isinf(HalfToFloat(0x7c00)));
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7e00)));
  EXPECT_EQ(Fp8E4M3ToFloat(0x38), 1.0f);
  EXPECT_EQ(Fp8E4M3ToFloat(0x7e), 448.0f);
  EXPECT_EQ(Fp8E4M3ToFloat(0x81), -0x1p-9f);
  EXPECT_EQ(Fp8E4M3ToFloat(0x08), 0x1p-6f);
  EXPECT_TRUE(std::isnan(Fp8E4M3ToFloat(0x7f)));
}

}  // namespace
}  // namespace tandem
