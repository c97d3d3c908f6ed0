// Predicted decode rates of simulated policies: the cost model's where it knows the case, slower
// with misses and with what is sent.
#include "placement/simulated_rate.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "placement/cost_model.h"
#include "placement/machine_file.h"

namespace tandem {
namespace {

ModelShape KimiK26() {
  return {.hidden = 7168,
          .layers = 61,
          .dense_layers = 1,
          .dense_intermediate = 18432,
          .vocab = 163840,
          .max_positions = 262144,
          .heads = 64,
          .q_lora_rank = 1536,
          .kv_lora_rank = 512,
          .qk_nope_dim = 128,
          .qk_rope_dim = 64,
          .v_dim = 128,
          .experts = 384,
          .top_k = 8,
          .expert_intermediate = 2048,
          .shared_experts = 1};
}

HotLists FirstHot(const ModelShape& shape, int32_t n) {
  HotLists hot(shape.layers);
  for (int32_t l = shape.dense_layers; l < shape.layers; ++l)
    for (int32_t e = 0; e < n; ++e) hot[l].push_back({e});
  return hot;
}

SimulationResult WithRate(const ModelShape& shape, double rate, double moves_per_token = 0) {
  SimulationResult result;
  result.layers.resize(shape.moe_layers());
  for (LayerResult& layer : result.layers)
    layer.counts[static_cast<int>(Phase::kDecode)] = {static_cast<int64_t>(rate * 1e6), 1000000};
  result.moves_per_decoded_token = moves_per_token;
  return result;
}

TEST(SimulatedRate, IsTheCostModelsForEvenRouting) {
  const ModelShape shape = KimiK26();
  const auto machine = LoadMachine("spr-2s-h100");
  ASSERT_TRUE(machine.ok()) << machine.status();
  ASSERT_TRUE(CheckPredicts(IdentityOf(shape, "kimi_k25"), shape, *machine).ok());
  const RoutingModel even(shape);
  const CostModel costs(shape, *machine, 16, true, even, even);
  Residences where(60 * 384, Residence::kRam);
  for (int32_t l = 0; l < 60; ++l) std::fill_n(where.begin() + l * 384, 96, Residence::kGpu);
  const double expected = 1 / costs.Decode(where, 1, 4096).total_s;
  const double got =
      PredictDecode(WithRate(shape, 0.25), FirstHot(shape, 96), shape, *machine, 4096);
  EXPECT_NEAR(got, expected, 1e-3 * expected);
}

TEST(SimulatedRate, FallsWithMissesAndWithWhatIsSent) {
  const ModelShape shape = KimiK26();
  const auto machine = LoadMachine("spr-2s-h100");
  ASSERT_TRUE(machine.ok()) << machine.status();
  const HotLists hot = FirstHot(shape, 23);
  const auto rate = [&](double hits, double moves) {
    return PredictDecode(WithRate(shape, hits, moves), hot, shape, *machine, 4096);
  };
  EXPECT_GT(rate(0.25, 0), 1.05 * rate(0.06, 0));
  EXPECT_GT(rate(0.06, 0), rate(0, 0));
  EXPECT_LT(rate(0.25, 1), rate(0.25, 0));
  EXPECT_GT(rate(0.25, 1), 0.95 * rate(0.25, 0));
  // A textbook LRU: five experts of every layer for every token. PCIe is all that counts.
  const double bytes = 300 * 24.77e6, pcie = machine->gpu->pcie_beside_cpu_gb_per_s * 1e9;
  ASSERT_GT(pcie, 0);
  EXPECT_NEAR(rate(0.4, 300), pcie / bytes, 0.01 * pcie / bytes);
}

TEST(SimulatedRate, SaysWhatIsMissing) {
  const ModelShape shape = KimiK26();
  const ModelIdentity model = IdentityOf(shape, "kimi_k25");
  Machine machine = *LoadMachine("spr-2s-h100");
  AdapterOptions options;
  SetCosts(shape, machine, options);
  EXPECT_NEAR(options.send_expert_s, 24.77e6 / (machine.gpu->pcie_beside_cpu_gb_per_s * 1e9), 1e-5);
  EXPECT_GT(options.cpu_expert_s, 24.77e6 / 614e9);
  ModelShape other = shape;
  other.experts = 256;
  EXPECT_FALSE(CheckPredicts(model, other, machine).ok());
  machine.gpu.reset();
  const absl::Status status = CheckPredicts(model, shape, machine);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("no GPU"), std::string::npos);
}

}  // namespace
}  // namespace tandem
