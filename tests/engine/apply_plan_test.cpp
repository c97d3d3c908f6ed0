// What becomes of an engine's options under a plan.
#include "engine/apply_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tandem {
namespace {

using ::testing::HasSubstr;

ModelIdentity AModel() {
  return {.architecture = "kimi_k25",
          .layers = 3,
          .dense_layers = 1,
          .hidden = 64,
          .experts = 4,
          .top_k = 2,
          .expert_intermediate = 32,
          .router_hash = 7};
}

Plan CpuPlan() {
  Plan plan;
  plan.model = AModel();
  plan.kv_tokens = 4096;
  plan.prefill.chunk_tokens = 128;
  return plan;
}

Plan GpuPlan() {
  Plan plan = CpuPlan();
  plan.gpu = true;
  plan.hot = {{}, {{3}, {1}}, {{0}}};
  plan.hot_experts_leave_ram = true;
  plan.prefill.stream = true;
  plan.goals.stream_buffer_bytes = 123;
  return plan;
}

EngineOptions Emulated() {
  EngineOptions options;
  options.device.device = Device::kEmulated;
  return options;
}

std::string Refusal(const Plan& plan, const ModelIdentity& model, const EngineOptions& options) {
  return std::string(ApplyPlan(plan, model, options).status().message());
}

TEST(ApplyPlan, WithoutAGpu) {
  const auto options = ApplyPlan(CpuPlan(), AModel(), {});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->device.device, Device::kCpu);
  EXPECT_EQ(options->kv_tokens, 4096);
  EXPECT_EQ(options->max_step_tokens, 128);
  EXPECT_TRUE(options->device.hot_experts.empty());
}

TEST(ApplyPlan, HotExpertsAndStreaming) {
  const auto options = ApplyPlan(GpuPlan(), AModel(), Emulated());
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->device.device, Device::kEmulated);
  EXPECT_EQ(options->device.hot_experts, GpuPlan().hot);
  EXPECT_TRUE(options->device.hot_experts_leave_ram);
  EXPECT_EQ(options->device.stream, StreamExperts::kAuto);
  EXPECT_EQ(options->device.stream_buffer_bytes, 123);
  Plan never = GpuPlan();
  never.prefill.stream = false;
  EXPECT_EQ(ApplyPlan(never, AModel(), Emulated())->device.stream, StreamExperts::kNever);
}

TEST(ApplyPlan, WhatOptionsSayStays) {
  EngineOptions wanted = Emulated();
  wanted.kv_tokens = 64;
  wanted.device.hot_fraction = 0.5;
  const auto options = ApplyPlan(GpuPlan(), AModel(), wanted);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->kv_tokens, 64);
  EXPECT_TRUE(options->device.hot_experts.empty());
}

TEST(ApplyPlan, NumaAndDisk) {
  Plan plan = CpuPlan();
  plan.numa = {{},
               std::vector<NumaChoice>(4, {NumaHome::kWhole, 1}),
               std::vector<NumaChoice>(4, {NumaHome::kReplicated, 0})};
  const auto placed = ApplyPlan(plan, AModel(), {});
  ASSERT_TRUE(placed.ok());
  EXPECT_EQ(placed->expert_placements[1][2].home, ExpertHome::kWhole);
  EXPECT_EQ(placed->expert_placements[1][2].node, 1);
  EXPECT_EQ(placed->expert_placements[2][3].home, ExpertHome::kReplicated);

  plan.on_disk = {{}, {{2}}, {}};
  const auto mapped = ApplyPlan(plan, AModel(), {});
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(mapped->expert_load.memory, ExpertsMemory::kMap);
  EXPECT_TRUE(mapped->expert_placements.empty());
  EngineOptions copy;
  copy.expert_load.memory = ExpertsMemory::kCopy;
  EXPECT_THAT(Refusal(plan, AModel(), copy), HasSubstr("leaves experts on disk"));
}

TEST(ApplyPlan, Refusals) {
  ModelIdentity other = AModel();
  other.router_hash = 8;
  EXPECT_THAT(Refusal(CpuPlan(), other, {}), HasSubstr("another model of the same shape"));
  other.experts = 8;
  EXPECT_THAT(Refusal(CpuPlan(), other, {}), HasSubstr("4 experts per layer, this one 8"));
  EngineOptions cpu;
  cpu.device.device = Device::kCpu;
  EXPECT_THAT(Refusal(GpuPlan(), AModel(), cpu), HasSubstr("--device says cpu"));
}

}  // namespace
}  // namespace tandem
