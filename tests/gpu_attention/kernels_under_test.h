// The kernel tables a test can run here: those of this CPU, and the AVX-512 ones through SIMDe.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "gpu_attention/host/dense_kernels.h"
#include "gpu_attention/host/kernel_choice.h"

namespace tandem {

extern const DenseKernels kDenseTableSimde;

struct TestKernel {
  std::string name;
  const DenseKernels* kernels;
};

inline std::vector<TestKernel> KernelsUnderTest() {
  std::vector<TestKernel> all;
  for (const DenseKernels* k : AllDenseKernels(true)) all.push_back({k->name, k});
  all.push_back({"avx512_simde", &kDenseTableSimde});
  return all;
}

inline void PrintTo(const TestKernel& k, std::ostream* os) { *os << k.name; }

class KernelTest : public testing::TestWithParam<TestKernel> {
 protected:
  const DenseKernels& kernels() const { return *GetParam().kernels; }
};

#define TANDEM_TEST_ALL_KERNELS(suite)                                            \
  INSTANTIATE_TEST_SUITE_P(Kernels, suite, testing::ValuesIn(KernelsUnderTest()), \
                           [](const auto& info) { return info.param.name; })

// Normal numbers; the seed is fixed by the caller.
inline std::vector<float> RandomFloats(size_t n, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

inline std::vector<bf16> RandomBf16(size_t n, uint32_t seed, float deviation = 1.0f) {
  const std::vector<float> floats = RandomFloats(n, seed, deviation);
  std::vector<bf16> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = ToBf16(floats[i]);
  return values;
}

}  // namespace tandem
