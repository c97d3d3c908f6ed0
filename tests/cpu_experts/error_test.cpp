// How far each kernel and mode is from double precision on one wide expert: prints the figures of
// docs/numerics.md and holds them to bounds that only rounding explains.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/cpu_experts/implementations.h"
#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {
namespace {

// |a - b| / |b| over all elements.
double RelativeError(const std::vector<float>& a, const std::vector<double>& b) {
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < b.size(); ++i) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(error / norm);
}

double Bound(ExpertActivations activations) {
  switch (activations) {
    case ExpertActivations::kInt8:
      return 0.02;
    case ExpertActivations::kInt8x2:
      return 2e-4;
    case ExpertActivations::kBf16:
      return 4e-3;
  }
  return 0.0;
}

TEST(KernelErrors, AgainstDoublePrecision) {
  const MoeCase c({"wide", 2, 7168, 256, 1, 1}, 20260702);
  const std::vector<double> exact = Reference(c, ExpertActivations::kInt8).y;
  const std::vector<double> rounded = Reference(c, ExpertActivations::kBf16).y;
  std::printf("relative error of y            exact weights   weights rounded to BF16\n");
  for (const Implementation& i : RunnableImplementations()) {
    for (ExpertActivations activations : kModes) {
      const std::vector<float> y = RunDriver(c, *i.table, activations, 2);
      const double to_exact = RelativeError(y, exact), to_rounded = RelativeError(y, rounded);
      std::printf("%-18s %-7s %16.5f %% %16.5f %%\n", i.name, NameOf(activations), 100 * to_exact,
                  100 * to_rounded);
      EXPECT_LE(activations == ExpertActivations::kBf16 ? to_rounded : to_exact, Bound(activations))
          << i.name << ", " << NameOf(activations);
    }
  }
}

}  // namespace
}  // namespace tandem::test
