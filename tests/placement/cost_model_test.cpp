#include "placement/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "placement/footprint.h"
#include "placement/numa_balance.h"
#include "placement/planner.h"
#include "tests/placement/planner_fixtures.h"

namespace tandem {
namespace {

using testing::HasSubstr;

const ModelShape kKimi = KimiK26Shape();
constexpr double kExpertBytes = 24'772'608, kExperts = 384, kTopK = 8, kMoeLayers = 60;

Residences Everywhere(const ModelShape& shape, Residence residence = Residence::kRam) {
  return Residences(static_cast<size_t>(shape.moe_layers()) * shape.experts, residence);
}

// Bytes at a rate of GB/s.
double Reading(double bytes, double gb_per_s) { return bytes / (gb_per_s * 1e9); }

// ---------------------------------------------------------------- the arithmetic of the design

TEST(Arithmetic, KimiK26) {
  const Footprint f = ComputeFootprint(kKimi, kBf16WeightBytes);
  EXPECT_NEAR(f.expert_bytes, 24.77e6, 0.01 * 24.77e6);
  EXPECT_NEAR(f.expert_bytes * 384.0, 9.51e9, 0.01 * 9.51e9);
  EXPECT_NEAR(f.routed_bytes, 570.8e9, 0.01 * 570.8e9);
  EXPECT_NEAR(f.routed_read_per_token, 11.89e9, 0.01 * 11.89e9);
  EXPECT_NEAR(f.dense_bytes + f.embedding_bytes, 23.4e9, 0.016 * 23.4e9);  // router in FP32
  EXPECT_EQ(f.kv_bytes_per_token, 70'272);
  EXPECT_NEAR(f.kv_bytes_per_token * 262144.0, 18.4e9, 0.01 * 18.4e9);
  EXPECT_NEAR(614.4e9 / f.routed_read_per_token, 51.7, 0.01 * 51.7);  // roof, two sockets
  EXPECT_NEAR(61.0 * AttentionWeights(kKimi) * 2, 12.3e9, 0.01 * 12.3e9);
}

// 60 layers, 571 GB at 50 GB/s; what the CPU reads meanwhile at 300 tok/s.
TEST(Arithmetic, StreamedPassAndBreakEven) {
  const Footprint f = ComputeFootprint(kKimi, kBf16WeightBytes);
  EXPECT_NEAR(Reading(f.routed_bytes, 50), 11.4, 0.01 * 11.4);
  EXPECT_NEAR(BreakEvenTokens(300, f.routed_bytes, 50), 3400, 0.01 * 3400);
  EXPECT_NEAR(BreakEvenTokens(100, f.routed_bytes, 50), 1140, 0.01 * 1140);
  EXPECT_NEAR(DistinctExperts(384, 8, 32), 384 * (1 - std::pow(1 - 8.0 / 384, 32)), 1e-9);
}

// Published: E[max of k balls in N bins] N / k for k = 8; with two nodes 1.04 at batch 32 and 1.01
// at 128.
TEST(Arithmetic, NumaImbalance) {
  EXPECT_NEAR(FullestBin(8, 2), 1.27, 0.005);
  EXPECT_NEAR(FullestBin(8, 4), 1.77, 0.005);
  EXPECT_NEAR(FullestBin(8, 6), 2.19, 0.005);
  EXPECT_NEAR(FullestBin(8, 8), 2.60, 0.005);
  EXPECT_NEAR(FullestBin(1, 5), 5, 1e-9);
  EXPECT_NEAR(FullestBin(64, 2) - FullestBin(64.01, 2), 0, 0.002);  // exact and limit meet
  const std::vector<double> two = {0.5, 0.5};
  EXPECT_NEAR(NumaFactor(kKimi, NumaHome::kWhole, two, 1), 1.27, 0.005);
  EXPECT_NEAR(NumaFactor(kKimi, NumaHome::kWhole, two, 32), 1.04, 0.005);
  EXPECT_NEAR(NumaFactor(kKimi, NumaHome::kWhole, two, 128), 1.01, 0.005);
  EXPECT_EQ(NumaFactor(kKimi, NumaHome::kSharded, two, 1), 1);
  const std::vector<double> six(6, 1.0 / 6);  // 64 units of 32 columns: 11 11 11 11 10 10
  EXPECT_NEAR(NumaFactor(kKimi, NumaHome::kSharded, six, 1), 11.0 / 64 * 6, 1e-12);
  EXPECT_NEAR(NumaFactor(kKimi, NumaHome::kReplicated, two, 1), 1, 0.01);
  EXPECT_NEAR(NumaFactor(kKimi, NumaHome::kReplicated, six, 1), 1.5, 0.01);  // 8 on 6: two each
  const std::vector<double> uneven = {0.75, 0.25};
  EXPECT_EQ(NumaFactor(kKimi, NumaHome::kSharded, uneven, 1), 2);  // half of it at a quarter
}

// ---------------------------------------------------------------- decode, term by term

class Decode : public testing::Test {
 protected:
  Decode() {
    machine_.gpu = H100();
    machine_.rates.step_us = 70;
    machine_.rates.row_us = 3;
  }
  CostModel Costs(bool gpu) const { return CostModel(kKimi, machine_, 16, gpu, even_, even_); }

  Machine machine_ = DescribedMachine(2, 750'000'000'000, 200);  // 400 GB/s in all
  const RoutingModel even_{kKimi};
  const double attention_bytes_ = 2.0 * AttentionWeights(kKimi);
  const double shared_bytes_ = 2.0 * 3 * 7168 * 2048, mlp_bytes_ = 2.0 * 3 * 7168 * 18432;
  const double router_bytes_ = 4.0 * 7168 * 384, head_bytes_ = 2.0 * 7168 * 163840;
};

TEST_F(Decode, OneRowOnGpuAndCpu) {
  const StepTime t = Costs(true).Decode(Everywhere(kKimi), 1, 10000);
  const double kv_s = Reading(61.0 * 1152 * 10000, 2680);
  EXPECT_NEAR(t.attention_s, Reading(61 * attention_bytes_ + mlp_bytes_, 2680) + kv_s, 1e-9);
  EXPECT_NEAR(t.shared_s, Reading(60 * (shared_bytes_ + router_bytes_), 2680), 1e-9);
  EXPECT_NEAR(t.cpu_experts_s, Reading(kMoeLayers * kTopK * kExpertBytes, 400), 1e-9);
  EXPECT_NEAR(t.handoff_s, 60 * (30e-6 + Reading(7168.0 * 6, 50)), 1e-9);
  EXPECT_NEAR(t.head_s, Reading(head_bytes_, 2680), 1e-9);
  EXPECT_NEAR(t.other_s, 73e-6, 1e-12);
  EXPECT_EQ(t.hot_experts_s, 0);
  // The shared expert runs while the CPU computes: it is not on the way.
  EXPECT_NEAR(t.total_s,
              t.attention_s + Reading(60 * router_bytes_, 2680) + t.cpu_experts_s + t.handoff_s +
                  t.head_s + t.other_s,
              1e-9);
  EXPECT_EQ(t.limit, "RAM bandwidth");
}

TEST_F(Decode, OneRowOnCpuAddsUp) {
  machine_.rates.dense_gflops = 1e6;  // no limit
  const StepTime t = Costs(false).Decode(Everywhere(kKimi), 1, 10000);
  EXPECT_NEAR(t.attention_s, Reading(61 * (attention_bytes_ + 1152 * 10000) + mlp_bytes_, 400),
              1e-9);
  EXPECT_NEAR(t.shared_s, Reading(60 * (shared_bytes_ + router_bytes_), 400), 1e-9);
  EXPECT_EQ(t.handoff_s, 0);
  EXPECT_NEAR(t.total_s, t.attention_s + t.shared_s + t.cpu_experts_s + t.head_s + t.other_s, 1e-9);
}

// Where memory is the limit, a step reads D(B) experts per layer, whatever their rows.
TEST_F(Decode, BatchesReadDistinctExperts) {
  machine_.rates.expert_gops = 1e9;
  for (const int32_t batch : {2, 8, 32, 500, 4096}) {
    const double distinct = kExperts * (1 - std::pow(1 - kTopK / kExperts, batch));
    const StepTime t = Costs(true).Decode(Everywhere(kKimi), batch, 0);
    const double expected = Reading(kMoeLayers * distinct * kExpertBytes, 400);
    EXPECT_NEAR(t.cpu_experts_s, expected, 1e-6 * expected) << batch;
  }
}

// Where arithmetic is, the pairs of rows and experts count.
TEST_F(Decode, BatchesComputePairs) {
  machine_.rates.expert_gops = 10;
  for (const int32_t batch : {1, 8, 500}) {
    const StepTime t = Costs(true).Decode(Everywhere(kKimi), batch, 0);
    const double expected = kMoeLayers * kTopK * batch * 2.0 * 3 * 7168 * 2048 / 10e9;
    EXPECT_NEAR(t.cpu_experts_s, expected, 1e-6 * expected) << batch;
    EXPECT_EQ(t.limit, "CPU arithmetic");
  }
}

// E[t(rows)] over the binomial distribution, summed the plain way; a profile of uneven use goes
// through the look-up.
TEST_F(Decode, CurvesAreAveragedOverRows) {
  machine_.rates.experts.push_back({.hidden = 7168,
                                    .intermediate = 2048,
                                    .points = {{1, 60e-6}, {4, 70e-6}, {16, 200e-6}, {64, 900e-6}},
                                    .call_s = 12e-6});
  RoutingCounts counts{.tokens = 1000, .hits = std::vector<int64_t>(60 * 384), .mass = {}};
  for (int64_t l = 0; l < 60; ++l)
    for (int64_t e = 0; e < 384; ++e) counts.hits[l * 384 + e] = e < 192 ? 2 * e % 83 : 0;
  const RoutingModel uneven(kKimi, counts);
  const ExpertCurve& curve = machine_.rates.experts[0];
  for (const RoutingModel* routing : {&even_, &uneven}) {
    const CostModel costs(kKimi, machine_, 16, true, *routing, even_);
    for (const int32_t batch : {1, 3, 8, 32, 100}) {
      double layer_s = 12e-6;  // all layers are used alike
      for (int32_t e = 0; e < 384; ++e) {
        const double p = routing->Probability(0, e);
        double chance = std::pow(1 - p, batch);
        for (int32_t r = 0; r < batch; ++r) {
          chance *= (batch - r) * p / ((1 - p) * (r + 1));
          layer_s += chance * SecondsFor(curve, r + 1);
        }
      }
      const double expected = 60 * layer_s;
      const StepTime t = costs.Decode(Everywhere(kKimi), batch, 0);
      EXPECT_NEAR(t.cpu_experts_s, expected, 5e-4 * expected) << batch;
    }
  }
}

TEST_F(Decode, HotExpertsRunBesideTheCold) {
  Residences where = Everywhere(kKimi);
  for (size_t l = 0; l < 60; ++l)  // a quarter of each layer
    for (size_t e = 0; e < 96; ++e) where[l * 384 + e] = Residence::kGpu;
  const StepTime t = Costs(true).Decode(where, 1, 0);
  EXPECT_NEAR(t.cpu_experts_s, Reading(0.75 * 60 * 8 * kExpertBytes, 400), 1e-9);
  EXPECT_NEAR(t.hot_experts_s, Reading(0.25 * 60 * 8 * kExpertBytes, 2680), 1e-9);
  const StepTime all = Costs(true).Decode(Everywhere(kKimi, Residence::kGpu), 1, 0);
  EXPECT_EQ(all.cpu_experts_s, 0);
  EXPECT_NEAR(
      all.total_s,
      all.attention_s + all.shared_s + all.hot_experts_s + all.handoff_s + all.head_s + all.other_s,
      1e-9);
  EXPECT_EQ(all.limit, "GPU memory bandwidth");
}

TEST_F(Decode, DiskReadsEveryDifferentExpert) {
  machine_.rates.disk_gb_per_s = 6;
  const Residences disk = Everywhere(kKimi, Residence::kDisk);
  const StepTime t = Costs(true).Decode(disk, 1, 0);
  EXPECT_NEAR(t.disk_s, Reading(60 * 8 * kExpertBytes, 6), 1e-6);
  EXPECT_EQ(t.limit, "the disk");
  const StepTime ram = Costs(true).Decode(Everywhere(kKimi), 1, 0);
  EXPECT_NEAR(t.total_s, ram.total_s + t.disk_s, 1e-9);
  EXPECT_NEAR(t.cpu_experts_s, ram.cpu_experts_s + t.disk_s, 1e-9);
}

TEST_F(Decode, DenseCurveOfThisShape) {
  DenseCurve curve;
  curve.key = DenseKeyOf(kKimi, 16);
  curve.points = {{1, 1e-3, 2e-3, 3e-3, 4e-3, 5e-3}, {9, 2e-3, 4e-3, 5e-3, 6e-3, 9e-3}};
  curve.decode_kv_s = 1e-8, curve.prefill_kv_s = 2e-8;
  machine_.rates.dense.push_back(curve);
  const StepTime t = Costs(false).Decode(Everywhere(kKimi), 5, 1000);  // half way
  EXPECT_NEAR(t.attention_s, 61 * (1.5e-3 + 5 * 1000 * 1e-8) + 4e-3, 1e-9);
  EXPECT_NEAR(t.shared_s, 60 * 5e-3, 1e-9);
  EXPECT_NEAR(t.head_s, 7e-3, 1e-9);
  // 20 rows in slices of 9, 9 and 2: behind the last point the last slope would go on.
  const StepTime p = Costs(false).Prefill(Everywhere(kKimi), 20, 9, false);
  EXPECT_NEAR(p.attention_s,
              61 * (4e-3 + 4e-3 + 2.25e-3 + 2e-8 * (9 * 9 + 2 * 18)) + 5e-3 + 5e-3 + 3.25e-3, 1e-9);
  EXPECT_NEAR(p.shared_s, 60 * (6e-3 + 6e-3 + 4.25e-3), 1e-9);
  EXPECT_NEAR(p.head_s, 5e-3, 1e-9);
  EXPECT_NEAR(p.other_s, 3 * 70e-6 + 3e-6, 1e-9);
}

// ---------------------------------------------------------------- published tables

// Decode at 75 % of the memory's bandwidth, BF16 dense side, 0.10 ms per layer, one H100: the
// published column adds everything up; here the shared expert hides behind the CPU.
TEST(Published, DecodeOfServerMachines) {
  const struct {
    double peak_gb_per_s, series, roof;
  } kRows[] = {{614.4, 25.1, 51.7},
               {717, 27.7, 60.3},
               {1152, 36.1, 96.9},
               {1229, 37.2, 103.3},
               {1690, 42.8, 142.1}};
  const RoutingModel even(kKimi);
  for (const auto& row : kRows) {
    Machine machine = DescribedMachine(2, 750'000'000'000, 0.75 * row.peak_gb_per_s / 2);
    machine.rates.expert_gops = 1e9;
    machine.gpu = H100();
    machine.gpu->handoff_us = 100;
    const CostModel costs(kKimi, machine, 16, true, even, even);
    const StepTime t = costs.Decode(Everywhere(kKimi), 1, 0);
    const double series_s =
        t.attention_s + t.shared_s + t.cpu_experts_s + t.handoff_s + t.head_s + t.other_s;
    EXPECT_NEAR(1 / series_s, row.series, 0.02 * row.series) << row.peak_gb_per_s;
    EXPECT_LT(t.total_s, series_s);
    EXPECT_NEAR(1 / t.total_s, row.series, 0.1 * row.series) << row.peak_gb_per_s;
    EXPECT_NEAR(row.peak_gb_per_s * 1e9 / (60 * 8 * kExpertBytes), row.roof, 0.01 * row.roof);
  }
}

// KV reading adds 0.05 ms at 2K, 0.86 at 32K, 3.4 at 128K, 6.9 at 256K.
TEST(Published, LatentCacheInMilliseconds) {
  Machine machine = DescribedMachine(2, 750'000'000'000, 200);
  machine.gpu = H100();
  const RoutingModel even(kKimi);
  const CostModel costs(kKimi, machine, 16, true, even, even);
  const auto at = [&](int64_t n) { return costs.Decode(Everywhere(kKimi), 1, n).attention_s; };
  EXPECT_NEAR((at(2048) - at(0)) * 1e3, 0.05, 0.005);
  EXPECT_NEAR((at(32768) - at(0)) * 1e3, 0.86, 0.01);
  EXPECT_NEAR((at(131072) - at(0)) * 1e3, 3.4, 0.05);
  EXPECT_NEAR((at(262144) - at(0)) * 1e3, 6.9, 0.05);
}

// Prompts of one chunk streamed at 50 GB/s beside a CPU that is no help: 718 tok/s at 8K.
TEST(Published, StreamedPrefill) {
  Machine machine = DescribedMachine(1, 750'000'000'000, 5);
  machine.gpu = H100();
  machine.gpu->handoff_us = 0;
  const RoutingModel even(kKimi);
  const CostModel costs(kKimi, machine, 16, true, even, even);
  const StepTime t = costs.Prefill(Everywhere(kKimi), 8192, 8192, true);
  EXPECT_NEAR(t.pcie_s, 11.4, 0.01 * 11.4);
  // Attention is not overlapped with the sending here, as the published figure has it.
  EXPECT_NEAR(8192 / (t.total_s - t.attention_s), 718, 0.01 * 718);
  EXPECT_NEAR(8192 / t.total_s, 718, 0.06 * 718);
  EXPECT_EQ(t.limit, "PCIe");
}

// ---------------------------------------------------------------- prompts

class Prefill : public Decode {};

TEST_F(Prefill, TheCheapestOfCpuStreamedAndBoth) {
  machine_.rates.expert_gops = 30000;
  const CostModel costs = Costs(true);
  for (const int64_t tokens : {65, 200, 1000, 4000, 8000}) {
    const auto chunk = static_cast<int32_t>(tokens);
    const StepTime cpu = costs.Prefill(Everywhere(kKimi), tokens, chunk, false);
    const StepTime best = costs.Prefill(Everywhere(kKimi), tokens, chunk, true);
    EXPECT_LE(best.total_s, cpu.total_s * (1 + 1e-12)) << tokens;
    EXPECT_EQ(cpu.pcie_s, 0);
    EXPECT_LE(best.pcie_s, 11.42 * 50 / 45 + 0.01);
  }
  // Enough rows that sending and computing share the work: both beat either.
  const StepTime both = costs.Prefill(Everywhere(kKimi), 4000, 4000, true);
  EXPECT_GT(both.pcie_s, 1);
  EXPECT_GT(both.cpu_experts_s, 1);
  EXPECT_LT(both.total_s, 0.75 * costs.Prefill(Everywhere(kKimi), 4000, 4000, false).total_s);
}

TEST_F(Prefill, FewRowsAreNotStreamed) {
  EXPECT_EQ(Costs(true).Prefill(Everywhere(kKimi), 64, 64, true).pcie_s, 0);
}

// Break-even by the formula is where the two times cross, up to what rates change with rows.
TEST_F(Prefill, BreakEvenIsWhereTheTimesCross) {
  machine_.rates.expert_gops = 30000;
  const CostModel costs = Costs(true);
  const int64_t n = costs.BreakEven(Everywhere(kKimi), 4096);
  const double sent_s = Reading(60 * 384 * kExpertBytes, 50);
  const double cpu_s = costs.Prefill(Everywhere(kKimi), n, static_cast<int32_t>(n), false).total_s;
  EXPECT_NEAR(cpu_s, sent_s, 0.1 * sent_s);
  EXPECT_EQ(costs.BreakEven(Everywhere(kKimi, Residence::kGpu), 4096), 0);
  EXPECT_EQ(Costs(false).BreakEven(Everywhere(kKimi), 4096), 0);
}

// Attention grows with the position: 1.25 MFLOP per token and token before it, on average.
TEST_F(Prefill, AttentionIsQuadratic) {
  const CostModel costs = Costs(true);
  const double linear = costs.Prefill(Everywhere(kKimi), 8192, 8192, true).attention_s;
  const double n = 262144;
  const StepTime whole = costs.Prefill(Everywhere(kKimi), 262144, 8192, true);
  const double scores = 61.0 * 64 * 320 * n * n / 450e12;
  EXPECT_GT(whole.attention_s, scores);
  EXPECT_LT(whole.attention_s, scores + 32 * linear + 0.1 * scores);  // keys are expanded anew
}

TEST(Rates, WhatIsUnknownIsNamed) {
  Machine machine = DescribedMachine(1, 1'000'000'000, 0);
  const auto message = [&](bool gpu) {
    return std::string(CheckRates(machine, kKimi, 16, gpu).message());
  };
  EXPECT_THAT(message(false), HasSubstr("machine described: the bandwidth of its memory"));
  machine.nodes[0].read_gb_per_s = 10;
  machine.rates.expert_gops = 0;
  EXPECT_THAT(message(false), HasSubstr("expert_gops"));
  machine.rates.expert_gops = 1;
  EXPECT_THAT(message(true), HasSubstr("its GPU is unknown"));
  machine.gpu = H100();
  machine.gpu->pcie_gb_per_s = 0;
  EXPECT_THAT(message(true), HasSubstr("PCIe"));
  EXPECT_TRUE(CheckRates(machine, kKimi, 16, false).ok());
}

}  // namespace
}  // namespace tandem
