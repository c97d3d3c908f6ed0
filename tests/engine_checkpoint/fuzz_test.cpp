// Mutated checkpoints must be accepted or refused, never crash or read outside the file.
#include <gtest/gtest.h>

#include <random>

#include "core/log.h"
#include "engine/checkpoint/weight_reader.h"
#include "tests/engine_checkpoint/synth_checkpoints.h"

namespace tandem {
namespace {

// Changes that hit structure: bytes, digits, deletions, repetitions, tokens of JSON.
class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  std::string Mutate(std::string text, size_t from, size_t to) {
    const int n_changes = 1 + Below(4);
    for (int c = 0; c < n_changes && to > from; ++c) {
      to = std::min(to, text.size());
      if (to <= from) break;
      Change(text, from + Below(to - from));
    }
    return text;
  }
  size_t Below(size_t n) { return random_() % n; }

 private:
  void Change(std::string& text, size_t at) {
    static const char* const kTokens[] = {"-1",
                                          "18446744073709551615",
                                          "9223372036854775808",
                                          "1e308",
                                          "null",
                                          "[",
                                          "]",
                                          "{",
                                          "}",
                                          "\"",
                                          ",",
                                          ":",
                                          "\\u0000",
                                          "\"a\":{}",
                                          "true",
                                          "0",
                                          "[[",
                                          "\xff"};
    switch (Below(6)) {
      case 0:
        text[at] = static_cast<char>(Below(256));
        break;
      case 1:
        text[at] = static_cast<char>('0' + Below(10));
        break;
      case 2:
        text.erase(at, 1 + Below(12));
        break;
      case 3:
        text.insert(at, text.substr(at, 1 + Below(40)));
        break;
      case 4:
        text.insert(at, kTokens[Below(std::size(kTokens))]);
        break;
      case 5:
        text[at] = static_cast<char>(text[at] ^ (1 << Below(8)));
        break;
    }
  }
  std::mt19937_64 random_;
};

// Opens, checks and touches every byte that the reader would hand out.
bool OpensAndLoads(const std::string& dir) {
  const auto checkpoint = Checkpoint::Open(dir);
  if (!checkpoint.ok()) return false;
  const WeightReader reader(**checkpoint);
  if (!reader.CheckComplete().ok()) return false;
  const ModelShape& shape = (*checkpoint)->config().shape;
  bool ok = reader.Globals().ok();
  for (int32_t l = 0; l < shape.layers; ++l) {
    ok &= reader.Layer({l}).ok();
    for (int32_t e = 0; shape.is_moe(l) && e < shape.experts; ++e) {
      const auto expert = reader.Expert({l}, {e});
      ok &= expert.ok();
      if (!expert.ok()) continue;
      const auto& packed = expert->weights.down.packed;
      const volatile uint8_t last = packed(packed.dim(0) - 1, packed.dim(1) - 1);
      static_cast<void>(last);  // a read outside the file would fault here
    }
  }
  return ok;
}

class CheckpointFuzz : public testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    SynthModel model = SmallModel();
    model.shape.layers = 2;
    model.shape.experts = 2;
    model.shape.vocab = 520;
    WriteCheckpoint(dir_.path(), model);
    ASSERT_TRUE(OpensAndLoads(dir_.path()));
  }
  void TearDown() override { spdlog::set_level(spdlog::level::info); }
  // Rounds of mutations of one file, within its first `to` bytes (0: all).
  void Fuzz(const std::string& file, int rounds, size_t to) {
    const std::string original = ReadFile(dir_.File(file));
    int accepted = 0;
    for (int round = 0; round < rounds; ++round) {
      Mutator mutator(round);
      const size_t end = to == 0 ? original.size() : std::min(to, original.size());
      WriteFile(dir_.File(file), mutator.Mutate(original, 0, end));
      accepted += OpensAndLoads(dir_.path()) ? 1 : 0;
      if (HasFatalFailure()) return;
    }
    WriteFile(dir_.File(file), original);
    EXPECT_TRUE(OpensAndLoads(dir_.path()));
    EXPECT_LT(accepted, rounds / 2) << "mutations that change nothing test nothing";
  }
  std::string FirstShard() {
    const auto index = nlohmann::json::parse(ReadFile(dir_.File("model.safetensors.index.json")));
    return index["weight_map"].begin()->get<std::string>();
  }
  TempDir dir_;
};

TEST_F(CheckpointFuzz, Header) {
  const std::string shard = FirstShard();
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, ReadFile(dir_.File(shard)).data(), 8);
  Fuzz(shard, 2000, 8 + header_bytes);
}
TEST_F(CheckpointFuzz, HeaderLength) { Fuzz(FirstShard(), 300, 8); }
TEST_F(CheckpointFuzz, Index) { Fuzz("model.safetensors.index.json", 1000, 0); }
TEST_F(CheckpointFuzz, Config) { Fuzz("config.json", 1000, 0); }

TEST_F(CheckpointFuzz, TruncationAtEveryPlace) {
  const std::string shard = FirstShard();
  const std::string original = ReadFile(dir_.File(shard));
  for (size_t size = 0; size < original.size(); size += 1 + original.size() / 300) {
    WriteFile(dir_.File(shard), original.substr(0, size));
    EXPECT_FALSE(Checkpoint::Open(dir_.path()).ok()) << size << " bytes of " << original.size();
  }
}

}  // namespace
}  // namespace tandem
