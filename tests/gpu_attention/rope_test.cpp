#include "gpu_attention/rope.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace tandem {
namespace {

ModelShape K26() {
  ModelShape s;
  s.qk_nope_dim = 128;
  s.qk_rope_dim = 64;
  s.rope_theta = 50000;
  s.yarn = {.factor = 64,
            .beta_fast = 32,
            .beta_slow = 1,
            .mscale = 1,
            .mscale_all_dim = 1,
            .original_max_positions = 4096};
  return s;
}

// Computed apart from this code, with 9 digits.
constexpr std::array<double, 32> kK26Frequencies = {1,
                                                    0.713111085,
                                                    0.508527419,
                                                    0.36263654,
                                                    0.258600136,
                                                    0.184410624,
                                                    0.13150526,
                                                    0.0937778586,
                                                    0.0668740305,
                                                    0.043776656,
                                                    0.0284279591,
                                                    0.0182829556,
                                                    0.0116191599,
                                                    0.00727411927,
                                                    0.00446584875,
                                                    0.00267020339,
                                                    0.00153729673,
                                                    0.000834655045,
                                                    0.000408645987,
                                                    0.000158374991,
                                                    1.80702339e-05,
                                                    1.28860841e-05,
                                                    9.1892094e-06,
                                                    6.55292708e-06,
                                                    4.67296494e-06,
                                                    3.3323431e-06,
                                                    2.3763308e-06,
                                                    1.69458784e-06,
                                                    1.20842937e-06,
                                                    8.6174438e-07,
                                                    6.14519469e-07,
                                                    4.38220646e-07};

TEST(Rope, K26Frequencies) {
  const std::vector<float> f = RopeFrequencies(K26());
  ASSERT_EQ(f.size(), 32u);
  for (int i = 0; i < 32; ++i)
    EXPECT_NEAR(f[i], kK26Frequencies[i], kK26Frequencies[i] * 2e-7) << i;
}

TEST(Rope, BetaFastOfOneIsAHardStepAtTwenty) {
  ModelShape s = K26();
  s.yarn.beta_fast = 1;
  const std::vector<float> f = RopeFrequencies(s);
  for (int i = 0; i < 32; ++i) {
    const double plain = std::pow(50000.0, -2.0 * i / 64), want = i < 20 ? plain : plain / 64;
    EXPECT_NEAR(f[i], want, want * 2e-7) << i;
  }
}

TEST(Rope, NoYarnLeavesFrequenciesAlone) {
  ModelShape s = K26();
  s.yarn = {};
  const std::vector<float> f = RopeFrequencies(s);
  for (int i = 0; i < 32; ++i) EXPECT_NEAR(f[i], std::pow(50000.0, -2.0 * i / 64), f[i] * 2e-7);
}

TEST(Rope, AttentionScales) {
  ModelShape s = K26();
  EXPECT_FLOAT_EQ(AttentionScale(s), 0.14467962580268923f);
  EXPECT_FLOAT_EQ(RopeMagnitude(s.yarn), 1.0f);
  s.yarn.factor = 32;
  EXPECT_FLOAT_EQ(AttentionScale(s), 0.13086079996295005f);
  s.yarn.factor = 40;
  EXPECT_FLOAT_EQ(AttentionScale(s), 0.1352337788608801f);
  s.yarn = {};
  EXPECT_FLOAT_EQ(AttentionScale(s), 0.07216878364870322f);
}

struct Spot {
  int64_t position;
  int pair;
  double cos, sin;
};
constexpr Spot kSpots[] = {
    {1, 0, 0.5403023, 0.841471},          {1, 8, 0.9977648, 0.06682419},
    {1, 9, 0.999042, 0.04376268},         {1, 31, 1.0, 4.382206e-07},
    {1000, 0, 0.5623791, 0.8268796},      {1000, 8, -0.6211573, -0.7836859},
    {1000, 9, 0.9789305, -0.2041938},     {1000, 19, 0.9874849, 0.1577137},
    {1000, 20, 0.9998367, 0.01806925},    {1000, 31, 0.9999999, 0.0004382206},
    {262143, 0, -0.6091615, 0.7930462},   {262143, 8, 0.8908486, 0.4543004},
    {262143, 9, -0.8805273, 0.4739955},   {262143, 19, -0.7799623, -0.6258265},
    {262143, 20, 0.02459375, -0.9996975}, {262143, 31, 0.993409, 0.114624},
};

TEST(Rope, K26SpotChecks) {
  const std::vector<float> f = RopeFrequencies(K26());
  for (const Spot& spot : kSpots) {
    float cos[32], sin[32];
    RopeRow(f, 1.0f, spot.position, cos, sin);
    // One F32 ulp of the frequency moves an angle of 262,143 x 0.067 by 2e-3.
    const double tolerance = spot.position > 1000 ? 2.5e-3 : 5e-6;
    EXPECT_NEAR(cos[spot.pair], spot.cos, tolerance) << spot.position << " pair " << spot.pair;
    EXPECT_NEAR(sin[spot.pair], spot.sin, tolerance) << spot.position << " pair " << spot.pair;
  }
}

TEST(Rope, RotatesInterleavedPairs) {
  const float x[4] = {1, 2, 3, 4}, cos[2] = {0, 0.6f}, sin[2] = {1, 0.8f};
  float y[4];
  Rotate(x, cos, sin, 2, y);
  EXPECT_FLOAT_EQ(y[0], -2);
  EXPECT_FLOAT_EQ(y[1], 1);
  EXPECT_FLOAT_EQ(y[2], 3 * 0.6f - 4 * 0.8f);
  EXPECT_FLOAT_EQ(y[3], 4 * 0.6f + 3 * 0.8f);
}

}  // namespace
}  // namespace tandem
