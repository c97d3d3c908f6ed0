#include "tools/synth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "engine/checkpoint/convert.h"
#include "engine/text/bpe.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_files.h"
#include "tests/engine_checkpoint/synth_checkpoints.h"
#include "tools/synth_random.h"
#include "tools/synth_tokenizer.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::string FolderContent(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  std::string content;
  for (const std::string& name : names) content += name + ReadFile(dir + "/" + name);
  return content;
}

TEST(Synth, WritesShardsWithinTheLimitAndAConfigThatReadsBack) {
  TempDir dir;
  WriteCheckpoint(dir.path(), SmallModel());
  const auto checkpoint = OpenCheckpoint(dir.path());
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_GT(checkpoint->n_shards(), 2);
  EXPECT_EQ(checkpoint->config().model_type, "kimi_k25");
  EXPECT_EQ(checkpoint->config().weight_format, WeightFormat::kPackedInt4);
  EXPECT_EQ(checkpoint->config().eos_ids, (std::vector<int32_t>{613 - 256 + 2}));
  const ModelShape wrote = SmallModel().shape, read = checkpoint->config().shape;
  EXPECT_EQ(read.hidden, wrote.hidden);
  EXPECT_EQ(read.layers, wrote.layers);
  EXPECT_EQ(read.experts, wrote.experts);
  EXPECT_EQ(read.v_dim, wrote.v_dim);
  EXPECT_EQ(read.rms_norm_eps, wrote.rms_norm_eps);
  EXPECT_EQ(read.routed_scaling, wrote.routed_scaling);
  EXPECT_EQ(read.yarn.factor, wrote.yarn.factor);
  EXPECT_EQ(read.yarn.original_max_positions, wrote.yarn.original_max_positions);
}

TEST(Synth, BytesDependOnTheSeedAlone) {
  TempDir a, b, c;
  SynthOptions options;
  options.model = SmallModel();
  for (const auto& [dir, threads, seed] :
       {std::tuple{&a, 1, 5}, std::tuple{&b, 3, 5}, std::tuple{&c, 1, 6}}) {
    options.out_dir = dir->path();
    options.threads = threads;
    options.seed = seed;
    ASSERT_TRUE(Synthesize(options).ok());
  }
  EXPECT_EQ(FolderContent(a.path()), FolderContent(b.path()));
  EXPECT_NE(FolderContent(a.path()), FolderContent(c.path()));
}

// A tensor has the same weights whatever the config's nesting and the cut into shards.
TEST(Synth, WeightsDependOnTheirRole) {
  TempDir nested_dir, flat_dir;
  SynthModel flat = SmallModel();
  flat.nested = false;
  WriteCheckpoint(nested_dir.path(), SmallModel());
  SynthOptions options;
  options.out_dir = flat_dir.path();
  options.model = flat;
  ASSERT_TRUE(Synthesize(options).ok());
  const auto nested_checkpoint = OpenCheckpoint(nested_dir.path());
  const auto flat_checkpoint = OpenCheckpoint(flat_dir.path());
  ASSERT_TRUE(nested_checkpoint && flat_checkpoint);
  EXPECT_EQ(flat_checkpoint->n_shards(), 1);
  const std::string name = "model.layers.1.mlp.experts.3.up_proj.weight_packed";
  const auto one = nested_checkpoint->Find("language_model." + name);
  const auto two = flat_checkpoint->Find(name);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_TRUE(std::ranges::equal(one->bytes, two->bytes));
}

TEST(Synth, PiecesOfATensorFitTogether) {
  for (Fill fill : {Fill::kNormalBf16, Fill::kNormalF32, Fill::kNormBf16, Fill::kInt4,
                    Fill::kInt4Scale, Fill::kFp8, Fill::kFp8Scale}) {
    const Filler filler(fill, 0.1f);
    std::vector<std::byte> whole(1003), pieces(1003);
    filler.Write(42, 0, whole);
    for (size_t at = 0; at < whole.size(); at += 192) {
      const size_t n = std::min<size_t>(192, whole.size() - at);
      filler.Write(42, static_cast<int64_t>(at), std::span(pieces).subspan(at, n));
    }
    EXPECT_EQ(whole, pieces) << "fill " << static_cast<int>(fill);
  }
}

struct Moments {
  double mean = 0, deviation = 0;
};
Moments MomentsOf(const std::vector<float>& values) {
  Moments m;
  for (float v : values) m.mean += v;
  m.mean /= static_cast<double>(values.size());
  for (float v : values) m.deviation += (v - m.mean) * (v - m.mean);
  m.deviation = std::sqrt(m.deviation / static_cast<double>(values.size()));
  return m;
}

TEST(Synth, ValuesHaveTheDeviationAskedFor) {
  constexpr size_t kN = 200'000;
  std::vector<float> values(kN);
  std::vector<std::byte> bytes(kN * 4);
  const Filler normal(Fill::kNormalBf16, 0.02f);
  normal.Write(7, 0, std::span(bytes).first(kN * 2));
  ToFloats(DType::kBf16, bytes, values);
  for (float v : values) ASSERT_TRUE(std::isnormal(v)) << v;
  EXPECT_NEAR(MomentsOf(values).deviation, 0.02, 0.0004);
  EXPECT_NEAR(MomentsOf(values).mean, 0, 0.0003);

  const Filler int4(Fill::kInt4, 0), scale(Fill::kInt4Scale, 0.02f);
  std::vector<std::byte> nibbles(kN / 2), scales(kN / 32 * 2);
  int4.Write(7, 0, nibbles);
  scale.Write(8, 0, scales);
  std::vector<float> group_scales(kN / 32);
  ToFloats(DType::kBf16, scales, group_scales);
  for (size_t i = 0; i < kN; ++i) {
    const int nibble = std::to_integer<int>(nibbles[i / 2]) >> (i % 2 * 4) & 15;
    values[i] = static_cast<float>(nibble - 8) * group_scales[i / 32];
  }
  EXPECT_NEAR(MomentsOf(values).deviation, 0.02, 0.001);
  EXPECT_NEAR(MomentsOf(values).mean, 0, 0.0005);

  const Filler fp8(Fill::kFp8, 0);
  fp8.Write(7, 0, std::span(bytes).first(kN));
  ToFloats(DType::kF8E4M3, bytes, values);
  EXPECT_NEAR(MomentsOf(values).deviation, 64, 2);
}

TEST(Synth, RefusesAFullFolder) {
  TempDir dir;
  WriteFile(dir.File("notes.txt"), "mine");
  SynthOptions options;
  options.out_dir = dir.path();
  options.model = SmallModel();
  EXPECT_THAT(std::string(Synthesize(options).message()), HasSubstr("is not empty; --force"));
  options.force = true;
  EXPECT_TRUE(Synthesize(options).ok());
  EXPECT_EQ(ReadFile(dir.File("notes.txt")), "mine");
  options.out_dir = dir.File("notes.txt");
  EXPECT_THAT(std::string(Synthesize(options).message()), HasSubstr("is not a folder"));
}

TEST(Synth, LeavesNothingBehindAfterAnError) {
  TempDir dir;
  SynthOptions options;
  options.out_dir = dir.File("out");
  options.model = SmallModel();
  options.model.shape.hidden = 100;
  EXPECT_THAT(std::string(Synthesize(options).message()), HasSubstr("expected a multiple of 32"));
  EXPECT_FALSE(std::filesystem::exists(options.out_dir));
  options.model.shape.hidden = 7168 * 32;
  options.model.shape.vocab = 1 << 24;
  options.model.shape.experts = 1 << 16;
  options.model.shape.expert_intermediate = 1 << 19;
  options.model.shape.layers = 2;
  options.tokenizer_dir = dir.path();
  EXPECT_FALSE(Synthesize(options).ok());  // no tokenizer there
}

// A limit on the size of files stands in for a disk that fills up midway.
TEST(Synth, RemovesPartialFilesWhenAWriteFails) {
  TempDir dir;
  SynthOptions options;
  options.out_dir = dir.File("out");
  options.model = SmallModel();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit low = {.rlim_cur = 300'000, .rlim_max = before.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  const absl::Status status = Synthesize(options);
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot write")) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("model-00001-of-00001.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(options.out_dir));
}

TEST(Synth, SaysWhenTheDiskIsTooSmall) {
  TempDir dir;
  SynthOptions options;
  options.out_dir = dir.File("out");
  options.model = SmallModel();
  options.model.format = SynthFormat::kBf16Experts;
  options.model.shape.hidden = 1 << 20;  // terabytes per layer
  options.model.shape.expert_intermediate = 1 << 20;
  const absl::Status status = Synthesize(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("the checkpoint needs"));
  EXPECT_FALSE(std::filesystem::exists(options.out_dir));
}

TEST(Synth, NamesTheShapesItKnows) {
  EXPECT_THAT(std::string(FindSynthModel("k9").status().message()), HasSubstr("k2.6, k2-thinking"));
}

TEST(SynthTokenizer, InventsWordsThatMergingReaches) {
  TempDir dir;
  const TokenizerFiles files = InventTokenizer(3000, 1);
  WriteFile(dir.File("tiktoken.model"), files.model);
  WriteFile(dir.File("tokenizer_config.json"), files.config);
  const auto vocabulary = ReadTiktokenModel(dir.File("tiktoken.model"));
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  ASSERT_EQ(vocabulary->size(), 3000 - 256);
  BytePairEncoder encoder(*vocabulary);
  for (int32_t id = 0; id < vocabulary->size(); ++id) {
    std::vector<int32_t> ids;
    encoder.MergeByScan(vocabulary->Bytes(id), ids);
    ASSERT_EQ(ids, std::vector<int32_t>{id}) << vocabulary->Bytes(id);
  }
  const auto tokenizer = Tokenizer::Load(dir.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 3000);
  EXPECT_EQ((*tokenizer)->SpecialId("<|im_end|>"), 3000 - 256 + 2);
  EXPECT_EQ((*tokenizer)->SpecialId("</think>"), 3000 - 256 + 23);
  EXPECT_EQ((*tokenizer)->SpecialId("[PAD]"), 2999);
}

TEST(SynthTokenizer, CutsARealOne) {
  const char* data = std::getenv("TANDEM_KIMI_DATA");
  if (data == nullptr) GTEST_SKIP() << "TANDEM_KIMI_DATA does not name the folder of Kimi's files";
  TempDir dir;
  const auto cut = CutTokenizer(data, 16384);
  ASSERT_TRUE(cut.ok()) << cut.status();
  WriteFile(dir.File("tiktoken.model"), cut->model);
  WriteFile(dir.File("tokenizer_config.json"), cut->config);
  const auto small = Tokenizer::Load(dir.path());
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_EQ((*small)->vocab_size(), 16384);
  EXPECT_EQ((*small)->SpecialId("<|im_end|>"), 16384 - 256 + 2);
  const std::string text = "The quick brown fox, 你好, naïve\n\n";
  const auto ids = (*small)->Encode(text, false);
  EXPECT_EQ((*small)->DecodeBytes(ids, false), text);

  // All of it, uncut, is the file itself.
  const auto whole = CutTokenizer(data, 163840);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->model, ReadFile(std::string(data) + "/tiktoken.model"));
  EXPECT_THAT(std::string(CutTokenizer(data, 163841).status().message()),
              HasSubstr("has 163584 tokens"));
}

}  // namespace
}  // namespace tandem
