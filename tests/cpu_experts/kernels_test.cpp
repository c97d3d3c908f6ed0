// One body, every kernel, one table of shapes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <tuple>

#include "cpu_experts/panel16g32.h"
#include "cpu_experts/self_check.h"
#include "tests/cpu_experts/implementations.h"
#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {
namespace {

constexpr uint64_t kSeed = 20260117;

const MoeCaseShape kShapes[] = {
    // name, tokens, hidden, intermediate, experts, top_k
    {"1tok", 1, 256, 128, 8, 8},
    {"1tok_smallest", 1, 32, 32, 1, 1},
    {"2tok_odd_groups", 2, 96, 96, 3, 2},
    {"3tok_long_rows", 3, 1120, 64, 4, 2},
    {"k2_6_width", 2, 7168, 64, 4, 3},
    {"5tok_hidden32", 5, 32, 96, 3, 3},
    {"6tok_one_expert", 6, 160, 64, 2, 1, Routing::kOneExpert},
    {"7tok_one_expert", 7, 160, 64, 2, 1, Routing::kOneExpert},
    {"13tok_idle_experts", 13, 64, 32, 40, 1},
    {"16tok_skipped", 16, 128, 96, 6, 4, Routing::kSomeSkipped},
    {"70tok_top3", 70, 224, 64, 5, 3},
    {"140tok_one_expert", 140, 544, 32, 3, 2, Routing::kOneExpert},
    {"33tok_one_expert", 33, 96, 64, 2, 1, Routing::kOneExpert},
    {"896_experts_top16", 24, 64, 32, 896, 16},
};

using Parameters = std::tuple<Implementation, MoeCaseShape, ExpertActivations>;

class Kernels : public testing::TestWithParam<Parameters> {
 protected:
  const KernelTable& kernel() const { return *std::get<0>(GetParam()).table; }
  const MoeCaseShape& shape() const { return std::get<1>(GetParam()); }
  ExpertActivations activations() const { return std::get<2>(GetParam()); }
};

TEST(KernelFamily, EveryKernelRunsOnThisCpu) {
  std::string missing;
  for (const Implementation& i : kImplementations)
    if (!CanRun(i)) missing += std::string(" ") + i.name;
  if (!missing.empty())
    GTEST_SKIP() << "not run natively:" << missing << "; this CPU has: " << Describe(DetectCpu());
}

TEST_P(Kernels, AgreeWithDoublePrecision) {
  const MoeCase c(shape(), kSeed);
  const std::vector<float> y = RunDriver(c, kernel(), activations(), 2);
  EXPECT_EQ(Compare(Reference(c, activations()), y), "") << "seed " << kSeed;
}

// Same request, same bits: alone, in another order, with other workers.
TEST_P(Kernels, BitsDoNotDependOnTheBatch) {
  const MoeCase c(shape(), kSeed);
  const std::vector<float> all = RunDriver(c, kernel(), activations(), 1);
  auto expect_same = [&](const std::vector<int32_t>& tokens, int workers) {
    const std::vector<float> some = RunDriver(c.Select(tokens), kernel(), activations(), workers);
    for (size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_EQ(std::memcmp(&some[i * shape().hidden], &all[tokens[i] * shape().hidden],
                            shape().hidden * sizeof(float)),
                0)
          << "token " << tokens[i] << " in a batch of " << tokens.size() << " with " << workers
          << " workers";
    }
  };
  std::vector<int32_t> order(shape().tokens);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(kSeed);
  for (int workers : {2, 3}) expect_same(order, workers);
  for (int size : {1, 2, 4, 5, 9, 20}) {
    if (size > shape().tokens) break;
    std::shuffle(order.begin(), order.end(), random);
    expect_same({order.begin(), order.begin() + size}, 1 + size % 3);
  }
}

std::string NameOf(const testing::TestParamInfo<Parameters>& info) {
  return std::string(std::get<0>(info.param).name) + "_" + std::get<1>(info.param).name + "_" +
         NameOf(std::get<2>(info.param));
}
INSTANTIATE_TEST_SUITE_P(All, Kernels,
                         testing::Combine(testing::ValuesIn(RunnableImplementations()),
                                          testing::ValuesIn(kShapes), testing::ValuesIn(kModes)),
                         NameOf);

// Which kernels do the same float operations in the same order: in the INT8 modes all SIMD kernels,
// however wide; in BF16 those without BF16 instructions, those with vdpbf16ps, those with tiles.
const KernelTable* WitnessOf(const KernelTable* table, ExpertActivations activations) {
  if (table == &kReferenceTable) return nullptr;
  if (activations != ExpertActivations::kBf16) return &kAvx2Table;
  if (table == &kAvx512Bf16Table || table == &kAvx512Bf16SimdeTable) return &kAvx512Bf16SimdeTable;
  if (table == &kAmxTable || table == &kAmxEmulatedTable) return &kAmxEmulatedTable;
  return &kAvx2Table;
}

TEST(KernelFamily, SimdKernelsAgreeBitForBit) {
  if (!DetectCpu().avx2) GTEST_SKIP() << "this CPU has no AVX2";
  for (const MoeCaseShape& shape : kShapes) {
    for (ExpertActivations activations : kModes) {
      const MoeCase c(shape, kSeed);
      std::map<const KernelTable*, std::vector<float>> answers;
      for (const Implementation& i : kImplementations) {
        const KernelTable* witness = WitnessOf(i.table, activations);
        if (witness == nullptr || witness == i.table || !CanRun(i)) continue;
        if (!answers.contains(witness)) answers[witness] = RunDriver(c, *witness, activations, 1);
        EXPECT_EQ(RunDriver(c, *i.table, activations, 2), answers[witness])
            << i.name << " on " << shape.name << ", " << NameOf(activations);
      }
    }
  }
}

// Values at the ends of the code and nibble ranges: int16 sums must not saturate.
TEST(KernelFamily, ExtremeValuesAreExact) {
  const MoeCaseShape shape = {"extreme", 9, 64, 32, 1, 1, Routing::kOneExpert};
  for (const Implementation& i : kImplementations) {
    if (!CanRun(i)) continue;
    for (uint8_t nibbles : {0x00, 0xff, 0x0f, 0xf0}) {
      MoeCase c(shape, kSeed);
      for (auto* matrices : {&c.gate, &c.up, &c.down})
        for (uint8_t& byte : matrices->front().packed) byte = nibbles;
      for (bf16& x : c.x) x = ToBf16(x.bits % 2 == 0 ? 1.0f : -1.0f);
      for (int t = 0; t < 2 * shape.hidden; ++t) c.x[t] = ToBf16(t < shape.hidden ? 1.0f : -1.0f);
      for (ExpertActivations mode : kModes) {
        EXPECT_EQ(Compare(Reference(c, mode), RunDriver(c, *i.table, mode, 1)), "")
            << i.name << ", nibbles " << int{nibbles} << ", " << NameOf(mode);
      }
    }
  }
}

TEST(KernelFamily, SelfCheckPassesAndCatchesAWrongKernel) {
  for (const KernelTable* kernel : AllKernels()) {
    if (!Runnable(*kernel)) continue;
    EXPECT_EQ(SelfCheck(*kernel), absl::OkStatus());
  }
  // Wrong in one mode, for continued sums only.
  static const ModeKernels& right = *kReferenceTable.mode(ExpertActivations::kInt8x2);
  ModeKernels wrong = right;
  wrong.dot = [](const DotArgs& args) {
    DotArgs skewed = args;
    if (args.first_group > 0) --skewed.first_group;
    right.dot(skewed);
  };
  KernelTable table = kReferenceTable;
  table.modes[static_cast<int>(ExpertActivations::kInt8x2)] = &wrong;
  const absl::Status status = SelfCheck(table);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(status.message().find("int8x2"), std::string::npos) << status;
}

TEST(KernelFamily, MissingModeIsNamedWithTheKernelsThatHaveIt) {
  KernelTable table = kReferenceTable;
  EXPECT_EQ(CheckOffers(table, ExpertActivations::kBf16), absl::OkStatus());
  table.modes[static_cast<int>(ExpertActivations::kBf16)] = nullptr;
  const absl::Status status = CheckOffers(table, ExpertActivations::kBf16);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part : {"no bf16", "int8, int8x2", "offered by", "reference"})
    EXPECT_NE(status.message().find(part), std::string::npos) << part << ": " << status;
}

TEST(KernelFamily, ChoiceIsBestFirstAndLoudWhenForced) {
  constexpr ExpertActivations kInt8 = ExpertActivations::kInt8;
  const auto chosen = ChooseKernel("reference", kInt8);
  ASSERT_TRUE(chosen.ok());
  EXPECT_EQ(*chosen, &kReferenceTable);
  EXPECT_EQ(ChooseKernel("sse9", kInt8).status().code(), absl::StatusCode::kInvalidArgument);
  for (const KernelTable* kernel : AllKernels()) {
    if (!Runnable(*kernel)) {
      EXPECT_EQ(ChooseKernel(kernel->name, kInt8).status().code(),
                absl::StatusCode::kInvalidArgument);
    }
  }
  setenv("TANDEM_KERNEL", "reference", 1);
  EXPECT_EQ(*ChooseKernel("", kInt8), &kReferenceTable);
  setenv("TANDEM_KERNEL", "sse9", 1);
  EXPECT_FALSE(ChooseKernel("", kInt8).ok());
  unsetenv("TANDEM_KERNEL");
  const std::vector<std::string> runnable = KernelNames(true);
  ASSERT_FALSE(runnable.empty());
  EXPECT_EQ((*ChooseKernel("", kInt8))->name, runnable.front());
  for (ExpertActivations mode : kModes)
    EXPECT_NE((*ChooseKernel("", mode))->mode(mode), nullptr) << NameOf(mode);
}

}  // namespace
}  // namespace tandem::test
