#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <filesystem>

#include "bench/calibration.h"
#include "bench/gpu/measure_gpu.h"
#include "gpu_attention/gpu_query.h"
#include "placement/machine_file.h"
#include "tests/bench/tiny_shape.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// The rates of GpuSpec, by name.
struct Rate {
  const char* name;
  double GpuSpec::*value;
};
constexpr Rate kRates[] = {
    {"hbm_gb_per_s", &GpuSpec::hbm_gb_per_s},
    {"bf16_tflops", &GpuSpec::bf16_tflops},
    {"int4_tflops", &GpuSpec::int4_tflops},
    {"pcie_gb_per_s", &GpuSpec::pcie_gb_per_s},
    {"pcie_beside_cpu_gb_per_s", &GpuSpec::pcie_beside_cpu_gb_per_s},
    {"handoff_us", &GpuSpec::handoff_us},
};

absl::StatusOr<GpuSpec> MeasureQuickly(GpuMeasureOptions options) {
  options.quick = true;
  return MeasureEmulatedGpu(options);
}

CalibrationOptions Quick() {
  return {.shapes = {TinyShape()},
          .weight_bits = {},
          .threads = 2,
          .measure_gpu = MeasureQuickly,
          .effort = 0.01};
}

// Calibrations in a folder of their own.
class GpuCalibration : public ::testing::Test {
 protected:
  GpuCalibration() : folder_(testing::TempDir() + "tandem_gpu_calibration") {
    setenv("TANDEM_CACHE", folder_.c_str(), 1);
    std::filesystem::remove_all(folder_);
  }
  ~GpuCalibration() override {
    unsetenv("TANDEM_CACHE");
    std::filesystem::remove_all(folder_);
  }
  const std::string folder_;
};

TEST(MeasureGpu, EveryRateOfTheEmulatedGpu) {
  int turns = 0;
  const auto spec = MeasureQuickly({.cpu_load = [&] { ++turns; }});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_FALSE(spec->name.empty());
  EXPECT_GT(spec->memory_bytes, 0);
  for (const Rate& rate : kRates) {
    EXPECT_TRUE(std::isfinite((*spec).*rate.value)) << rate.name;
    EXPECT_GT((*spec).*rate.value, 0) << rate.name;
  }
  EXPECT_GE(turns, 2);  // in each of the runs
  // No CPU emulates faster than this: a unit that is wrong by a thousand shows.
  EXPECT_LT(spec->hbm_gb_per_s, 1000);
  EXPECT_LT(spec->pcie_gb_per_s, 1000);
  EXPECT_LT(spec->bf16_tflops, 1);
  EXPECT_LT(spec->int4_tflops, 1);
  EXPECT_LT(spec->handoff_us, 1e6);
  EXPECT_GT(spec->handoff_us, 0.01);
}

TEST(MeasureGpu, WithoutALoadNothingIsSaidOfTheLinkBesideIt) {
  const auto spec = MeasureQuickly({});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_GT(spec->pcie_gb_per_s, 0);
  EXPECT_EQ(spec->pcie_beside_cpu_gb_per_s, 0);
}

TEST(MeasureGpu, WithoutCudaItSaysSo) {
  if (QueryGpus().built_with_cuda) GTEST_SKIP() << "this build has CUDA";
  const auto spec = MeasureGpu({});
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr("TANDEM_CUDA"));
}

TEST_F(GpuCalibration, FillsAndKeepsTheRates) {
  const GpuSpec card{.name = "NVIDIA H100 80GB HBM3", .memory_bytes = int64_t{80} << 30};
  Machine machine = ThisMachine(card);
  machine.gpu = card;
  machine.nodes.resize(1);
  const absl::Status status = Calibrate(Quick(), machine);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(machine.gpu->name, card.name);
  EXPECT_EQ(machine.gpu->memory_bytes, card.memory_bytes);
  EXPECT_EQ(machine.gpu->measured.size(), std::string("2026-03-01 12:00").size());
  for (const Rate& rate : kRates) EXPECT_GT((*machine.gpu).*rate.value, 0) << rate.name;

  ASSERT_TRUE(SaveCalibration(machine).ok());
  const Machine again = ThisMachine(card);
  ASSERT_TRUE(again.gpu.has_value());
  EXPECT_EQ(again.gpu->measured, machine.gpu->measured);
  for (const Rate& rate : kRates)
    EXPECT_EQ((*again.gpu).*rate.value, (*machine.gpu).*rate.value) << rate.name;
}

TEST_F(GpuCalibration, AGpuThatFailsLeavesTheMachineAlone) {
  Machine machine = DetectMachine();
  CalibrationOptions options = Quick();
  options.measure_gpu = [](const GpuMeasureOptions&) {
    return absl::ResourceExhaustedError("the card is full");
  };
  const absl::Status status = Calibrate(options, machine);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_FALSE(machine.gpu.has_value());
  EXPECT_EQ(machine.rates.source, MachineRates::Source::kUnknown);
}

}  // namespace
}  // namespace tandem
