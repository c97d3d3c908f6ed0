#include "engine/batch_pace.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

namespace tandem {
namespace {

constexpr double kBound = 0.040;

// A machine: seconds of a step of so many rows.
using Machine = std::function<double(int32_t)>;

// Experts that are read once for all rows that need them, arithmetic, and what every step costs.
Machine MoeMachine(double read_all_s, double row_s, double step_s) {
  return [=](int32_t rows) {
    return step_s + read_all_s * (1 - std::pow(1 - 8.0 / 384, rows)) + row_s * rows;
  };
}

TEST(BatchPace, WithoutABoundAnythingGoes) {
  BatchPace pace;
  EXPECT_EQ(pace.RowsBeside(0, 0), BatchPace::kUnbounded);
  pace.Note(100, 1000);
  EXPECT_EQ(pace.RowsBeside(5, 0), BatchPace::kUnbounded);
}

TEST(BatchPace, BeginsCarefully) {
  BatchPace pace;
  EXPECT_EQ(pace.RowsBeside(0, kBound), 1);
  EXPECT_EQ(pace.RowsBeside(1, kBound), 0) << "what others take is looked at first";
  pace.Note(1, 0.010);
  EXPECT_EQ(pace.RowsBeside(0, kBound), 4);
  EXPECT_EQ(pace.RowsBeside(1, kBound), 3);
  EXPECT_EQ(pace.RowsBeside(4, kBound), 0);
}

TEST(BatchPace, OneRowThatTakesTooLongGoesAllTheSame) {
  BatchPace pace;
  for (int i = 0; i < 10; ++i) pace.Note(1, 0.3);
  EXPECT_EQ(pace.RowsBeside(0, kBound), 1);
  EXPECT_EQ(pace.RowsBeside(1, kBound), 0);
  EXPECT_EQ(pace.RowsBeside(2, kBound), 0);
}

TEST(BatchPace, ASingleSlowStepChangesNothing) {
  BatchPace pace;
  for (int i = 0; i < 5; ++i) pace.Note(16, 0.020);
  const int32_t before = pace.RowsBeside(0, kBound);
  pace.Note(16, 2.0);
  pace.Note(16, 2.0);
  EXPECT_EQ(pace.RowsBeside(0, kBound), before);
  pace.Note(8, 5.0);  // the first of its kind: but 16 rows were faster
  EXPECT_EQ(pace.RowsBeside(0, kBound), before);
}

TEST(BatchPace, NoticesThatTheMachineHasBecomeSlower) {
  BatchPace pace;
  for (int32_t rows = 1; rows <= 512; rows *= 2)
    for (int i = 0; i < 10; ++i) pace.Note(rows, 1e-5 * rows);
  EXPECT_GT(pace.RowsBeside(0, kBound), 512);
  for (int i = 0; i < 8; ++i) pace.Note(32, 0.128);
  EXPECT_LE(pace.RowsBeside(0, kBound), 31) << "whatever 512 rows took once";
}

TEST(BatchPace, ASlowMinuteIsForgotten) {
  BatchPace pace;
  for (int i = 0; i < 20; ++i) pace.Note(64, 0.039);
  for (int i = 0; i < 20; ++i) pace.Note(64, 0.5);
  EXPECT_LT(pace.RowsBeside(0, kBound), 64);
  for (int64_t i = 0; i <= BatchPace::kRemembered; ++i) pace.Note(8, 0.005);
  EXPECT_EQ(pace.RowsBeside(0, kBound), 64);
}

// On whatever machine, with steps that take up to half as long again by accident: a batch of which
// there is always more comes near the bound, and what is planned stays within it.
TEST(BatchPace, FindsTheBoundOnManyMachines) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto uniform = [&](double low, double high) {
      return low * std::pow(high / low, std::uniform_real_distribution<>()(random));
    };
    const Machine machine = MoeMachine(uniform(1e-4, 3), uniform(1e-6, 5e-3), uniform(1e-6, 5e-3));
    const bool beside = seed % 2 == 1;
    const int32_t others = beside ? 1 + random() % 4 : 0;
    BatchPace pace;
    int over = 0, steps = 0;
    int32_t rows = 0;
    for (int i = 0; i < 300; ++i) {
      const int32_t batch = std::min(pace.RowsBeside(others, kBound), 100000);
      rows = others + batch;
      const double s = machine(rows);
      over += i >= 50 && batch > (others == 0) && s > kBound * 1.05;
      steps += i >= 50;
      pace.Note(rows, s * (1 + 0.5 * std::pow(std::uniform_real_distribution<>()(random), 8)));
    }
    EXPECT_LE(over, steps / 50) << "seed " << seed << ", " << rows << " rows";
    int32_t best = others;
    while (best < 100000 && machine(best + 1) <= kBound) ++best;
    EXPECT_GE(rows, std::max(others, static_cast<int32_t>(best * 0.7))) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tandem
