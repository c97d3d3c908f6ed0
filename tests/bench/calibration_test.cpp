#include "bench/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "bench/calibration_samples.h"
#include "tests/bench/tiny_shape.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

CalibrationOptions Quick(const ModelShape& shape) {
  return {.shapes = {shape}, .weight_bits = {16, 8}, .threads = 2, .effort = 0.02};
}

Machine OneNode() {
  Machine machine = DetectMachine();
  machine.nodes.resize(1);
  return machine;
}

TEST(Calibration, ATinyShapeInSeconds) {
  Machine machine = OneNode();
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status = Calibrate(Quick(TinyShape()), machine);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));

  const MachineRates& rates = machine.rates;
  EXPECT_EQ(rates.source, MachineRates::Source::kCalibrated);
  EXPECT_THAT(rates.when, ::testing::MatchesRegex("20..-..-.. ..:.."));
  EXPECT_GT(rates.dispatch_us, 0);
  EXPECT_GT(rates.expert_gops, 0);
  EXPECT_GT(rates.dense_gflops, 0);
  EXPECT_GT(rates.step_us + rates.row_us, 0);
  EXPECT_GT(machine.nodes[0].read_gb_per_s, 0);
}

TEST(Calibration, CurvesRise) {
  Machine machine = OneNode();
  ASSERT_TRUE(Calibrate(Quick(TinyShape()), machine).ok());
  const ExpertCurve* experts = machine.rates.FindExperts(64, 32);
  ASSERT_NE(experts, nullptr);
  EXPECT_GE(experts->call_s, 0);
  EXPECT_EQ(experts->points.front().rows, 1);
  EXPECT_EQ(experts->points.back().rows, 256);
  EXPECT_GT(experts->points.front().seconds, 0);
  for (size_t i = 1; i < experts->points.size(); ++i) {
    EXPECT_GT(experts->points[i].rows, experts->points[i - 1].rows);
    EXPECT_GE(experts->points[i].seconds, experts->points[i - 1].seconds);
  }
  // 256 rows are far more work than one.
  EXPECT_GT(experts->points.back().seconds, 4 * experts->points.front().seconds);

  ASSERT_EQ(machine.rates.dense.size(), 2u);
  for (const DenseCurve& curve : machine.rates.dense) {
    EXPECT_EQ(curve.key.hidden, 64);
    EXPECT_EQ(curve.key.vocab, 128);
    ASSERT_EQ(curve.points.front().rows, 1);
    ASSERT_EQ(curve.points.back().rows, 512);
    for (const auto member :
         {&DenseCurve::Point::attention_s, &DenseCurve::Point::prefill_attention_s,
          &DenseCurve::Point::dense_mlp_s, &DenseCurve::Point::moe_s, &DenseCurve::Point::head_s}) {
      EXPECT_GT(curve.points.front().*member, 0);
      for (size_t i = 1; i < curve.points.size(); ++i)
        EXPECT_GE(curve.points[i].*member, curve.points[i - 1].*member);
      EXPECT_GT(curve.points.back().*member, 4 * (curve.points.front().*member));
    }
    // Differences: on a busy machine one of them may drown.
    EXPECT_GE(curve.decode_kv_s, 0);
    EXPECT_GE(curve.decode_one_kv_s, 0);
    EXPECT_GT(curve.decode_kv_s + curve.decode_one_kv_s + curve.prefill_kv_s, 0);
  }
  EXPECT_EQ(machine.rates.dense[0].key.weight_bits, 16);
  EXPECT_EQ(machine.rates.dense[1].key.weight_bits, 8);
}

TEST(Calibration, KeepsCurvesOfOtherShapesAndReplacesItsOwn) {
  Machine machine = OneNode();
  machine.rates.experts.push_back({.hidden = 7168, .intermediate = 2048, .points = {{1, 0.5}}});
  machine.rates.experts.push_back({.hidden = 64, .intermediate = 32, .points = {{1, 1000.0}}});
  CalibrationOptions options = Quick(TinyShape());
  options.weight_bits = {8};
  ASSERT_TRUE(Calibrate(options, machine).ok());
  ASSERT_EQ(machine.rates.experts.size(), 2u);
  EXPECT_EQ(machine.rates.FindExperts(7168, 2048)->points.front().seconds, 0.5);
  EXPECT_LT(machine.rates.FindExperts(64, 32)->points.front().seconds, 1.0);
  EXPECT_EQ(machine.rates.dense.size(), 1u);
}

TEST(Calibration, ShapesOfOtherBuild) {
  ModelShape shape = TinyShape();
  shape.q_lora_rank = 0;  // Moonlight's queries
  shape.dense_layers = 0;
  shape.shared_experts = 0;
  shape.experts = 5;  // not a multiple of top_k
  Machine machine = OneNode();
  const absl::Status status = Calibrate(Quick(shape), machine);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_GT(machine.rates.dense.front().points.front().moe_s, 0);
  EXPECT_EQ(machine.rates.dense.front().points.front().dense_mlp_s, 0);
}

TEST(Calibration, AShapeThatCannotRunLeavesTheMachineAlone) {
  ModelShape shape = TinyShape();
  shape.expert_intermediate = 33;
  Machine machine = OneNode();
  const absl::Status status = Calibrate(Quick(shape), machine);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("33"));
  EXPECT_EQ(machine.rates.source, MachineRates::Source::kUnknown);
}

TEST(Calibration, ADiskThatIsNotThere) {
  CalibrationOptions options = Quick(TinyShape());
  options.weight_bits = {};
  options.disk_path = "/nowhere/model.safetensors";
  Machine machine = OneNode();
  const absl::Status status = Calibrate(options, machine);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/model.safetensors"));
}

TEST(CalibrationSamples, AscendingByMeansOfNeighbours) {
  std::vector<double> values = {1, 3, 2, 5, 4, 3, 9};
  MakeAscending(values);
  EXPECT_THAT(values, ElementsAre(1, 2.5, 2.5, 4, 4, 4, 9));
}

TEST(CalibrationSamples, MedianWithoutInterruptions) {
  Samples samples;
  EXPECT_EQ(samples.Typical(), 0);
  for (const double s : {1.9, 1.0, 1.2, 50.0, 60.0, 70.0}) samples.Add(s);
  EXPECT_EQ(samples.Typical(), 1.2);
}

TEST(CalibrationSamples, LongPointsRunOnceShortOnesOften) {
  const auto runs_of = [](double one_run_s) {
    const Rounds rounds(0.5);
    int kept = 0;
    double last_s = 0;
    for (int round = 0; round < Rounds::kMost; ++round)
      EXPECT_TRUE(rounds
                      .Visit(
                          round, last_s, [&]() -> absl::StatusOr<double> { return one_run_s; },
                          [&] { ++kept; })
                      .ok());
    return kept;
  };
  EXPECT_EQ(runs_of(2.0), 1);
  EXPECT_EQ(runs_of(0.2), 2);
  EXPECT_EQ(runs_of(1e-5), 10 * Rounds::kMost);
}

}  // namespace
}  // namespace tandem
