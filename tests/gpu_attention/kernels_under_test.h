// The kernel tables a test can run here: those of this CPU, and the AVX-512 ones through SIMDe.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu_attention/host/dense_kernels.h"
#include "gpu_attention/host/kernel_choice.h"
#include "tests/gpu_attention/random_numbers.h"

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

}  // namespace tandem
