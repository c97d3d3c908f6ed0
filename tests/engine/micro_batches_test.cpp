#include "engine/micro_batches.h"

#include <gtest/gtest.h>

namespace tandem {
namespace {

// Runs steps that take what `seconds` says for one part and for two; returns the last decision.
template <class Seconds>
int Decide(MicroBatchTuner& tuner, int32_t rows, int steps, Seconds seconds) {
  for (int i = 0; i < steps; ++i) {
    const int parts = tuner.PartsFor(rows);
    tuner.Note(rows, parts, seconds(parts, i));
  }
  return tuner.PartsFor(rows);
}

TEST(MicroBatches, ASingleRowIsNeverCut) {
  for (const MicroBatches policy : {MicroBatches::kAuto, MicroBatches::kOff, MicroBatches::kOn})
    EXPECT_EQ(MicroBatchTuner(policy).PartsFor(1), 1);
}

TEST(MicroBatches, FixedPoliciesAreKept) {
  MicroBatchTuner off(MicroBatches::kOff), on(MicroBatches::kOn);
  const auto two_are_faster = [](int parts, int) { return parts == 2 ? 1.0 : 2.0; };
  const auto one_is_faster = [](int parts, int) { return parts == 2 ? 2.0 : 1.0; };
  EXPECT_EQ(Decide(off, 8, 100, two_are_faster), 1);
  EXPECT_EQ(Decide(on, 8, 100, one_is_faster), 2);
}

TEST(MicroBatches, TheFasterOneIsChosenForEachSize) {
  MicroBatchTuner tuner(MicroBatches::kAuto);
  const auto two_are_faster = [](int parts, int i) { return (parts == 2 ? 1.0 : 1.1) + i % 3; };
  const auto one_is_faster = [](int parts, int i) { return (parts == 2 ? 1.1 : 1.0) + i % 3; };
  EXPECT_EQ(Decide(tuner, 4, 40, two_are_faster), 2);
  EXPECT_EQ(Decide(tuner, 64, 40, one_is_faster), 1);
  EXPECT_EQ(tuner.PartsFor(5), 2) << "4 to 7 rows are one size";
}

TEST(MicroBatches, ADecisionIsTriedAgainWhenThingsChange) {
  MicroBatchTuner tuner(MicroBatches::kAuto);
  EXPECT_EQ(Decide(tuner, 8, 40, [](int parts, int) { return parts == 2 ? 1.0 : 2.0; }), 2);
  const int steps = MicroBatchTuner::kDecisionHolds + 4 * MicroBatchTuner::kTrial;
  EXPECT_EQ(Decide(tuner, 8, steps, [](int parts, int) { return parts == 2 ? 2.0 : 1.0; }), 1);
}

}  // namespace
}  // namespace tandem
