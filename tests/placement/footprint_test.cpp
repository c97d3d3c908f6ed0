#include "placement/footprint.h"

#include <gtest/gtest.h>

#include "placement/machine.h"

namespace tandem {
namespace {

ModelShape KimiK26() {
  ModelShape s;
  s.hidden = 7168, s.layers = 61, s.dense_layers = 1, s.dense_intermediate = 18432;
  s.vocab = 163840, s.heads = 64, s.q_lora_rank = 1536, s.kv_lora_rank = 512;
  s.qk_nope_dim = 128, s.qk_rope_dim = 64, s.v_dim = 128;
  s.experts = 384, s.top_k = 8, s.expert_intermediate = 2048, s.shared_experts = 1;
  return s;
}

// Published figures: 24,772,608 bytes an expert, 570.76 GB of experts, 70,272 bytes of cache per
// token, 11.89 GB of experts read per token, 11,722,208,768 parameters beside the routed experts.
TEST(Footprint, MatchesKimiK26) {
  const Footprint f = ComputeFootprint(KimiK26(), kBf16WeightBytes);
  EXPECT_EQ(f.expert_bytes, 24'772'608);
  EXPECT_EQ(f.routed_bytes, 570'760'888'320);
  EXPECT_EQ(f.kv_bytes_per_token, 70'272);
  EXPECT_EQ(f.routed_read_per_token, 11'890'851'840);
  const double expected_bytes = 2.0 * 11'722'208'768 + 2.0 * 60 * 384 * 7168;  // router in FP32
  EXPECT_NEAR(static_cast<double>(f.dense_bytes + f.embedding_bytes), expected_bytes,
              4e6);  // norms
}

TEST(Footprint, PlainQueryProjectionAndInt8) {
  ModelShape s = KimiK26();
  s.q_lora_rank = 0;
  const Footprint bf16 = ComputeFootprint(s, kBf16WeightBytes);
  EXPECT_GT(bf16.dense_bytes, ComputeFootprint(KimiK26(), kBf16WeightBytes).dense_bytes);
  EXPECT_LT(ComputeFootprint(s, 1.03).dense_bytes, bf16.dense_bytes * 0.53);
}

TEST(Machine, KnowsWhatItRunsOn) {
  const Machine machine = DetectMachine();
  EXPECT_GE(machine.cores, 1);
  EXPECT_GE(machine.hardware_threads, machine.cores);
  EXPECT_GT(machine.available_bytes, 0);
  EXPECT_LE(machine.available_bytes, machine.memory_bytes);
}

}  // namespace
}  // namespace tandem
