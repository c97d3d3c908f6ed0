#include "tests/gpu_attention/cuda/worst_error.h"

#include <gtest/gtest.h>

namespace tandem::TANDEM_GPU {
namespace {

TEST(WorstError, AcceptsAndRejects) {
  EXPECT_EQ(WorstError({1.0f, -2.0f}, {1.01f, -2.01f}, 0.02f, 0), "");
  EXPECT_EQ(WorstError({0.001f}, {0}, 0, 0.01f), "");
  EXPECT_NE(WorstError({1.0f, -2.0f}, {1.01f, -3.0f}, 0.02f, 0), "");
  EXPECT_NE(WorstError({-1.0f}, {1.0f}, 0.5f, 0), "");
  EXPECT_NE(WorstError({-5.0f}, {-1.0f}, 0.5f, 0), "");
  EXPECT_NE(WorstError({NAN}, {1.0f}, 0.5f, 1), "");
  EXPECT_NE(WorstError({INFINITY}, {1.0f}, 0.5f, 1), "");
  EXPECT_NE(WorstError({1.0f}, {1.0f, 1.0f}, 0.5f, 1), "");
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
