// The kernels' primitives, called as no driver would: cut anywhere, rows anywhere, guarded. Random
// calls are compared with the scalar specification; TANDEM_FUZZ_SECONDS makes that run longer.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>

#include "absl/strings/str_format.h"
#include "cpu_experts/panel16g32.h"
#include "tests/cpu_experts/emulated_tiles.h"
#include "tests/cpu_experts/implementations.h"

namespace tandem::test {
namespace {

constexpr uint64_t kSeed = 20260701;
constexpr float kGuard = -54321.0f;
constexpr int kGuardBytes = 64;

// Bytes that stay aligned when copied.
struct alignas(64) Line {
  uint8_t bytes[64];
};
struct Lines {
  std::vector<Line> lines;
  explicit Lines(int64_t bytes = 0) : lines((bytes + 63) / 64) {}
  uint8_t* data() { return lines.front().bytes; }
};

// Panels and tokens of one dot call, and the buffers it writes.
struct Call {
  int tokens, groups, n_panels;
  Lines panels, work;
  std::vector<bf16> x;

  Call(int tokens, int groups, int n_panels, std::mt19937_64& random)
      : tokens(tokens), groups(groups), n_panels(n_panels) {
    const int64_t inputs = groups * kGroupInputs;
    panels = Lines(n_panels * PanelBytes(inputs));
    for (Line& line : panels.lines)
      for (uint8_t& byte : line.bytes) byte = static_cast<uint8_t>(random());
    for (int p = 0; p < n_panels; ++p) {
      auto* scales = reinterpret_cast<bf16*>(panels.data() + p * PanelBytes(inputs) +
                                             PanelScaleOffset(inputs));
      for (int i = 0; i < groups * kPanelRows; ++i)
        scales[i] = ToBf16(0.01f * static_cast<float>(random() % 2001) - 10.0f);
    }
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < tokens * inputs; ++i)
      x.push_back(ToBf16(random() % 16 == 0 ? 0.0f : normal(random)));
    work = Lines(kSumsBytes + kScratchBytes + kGuardBytes);
  }

  // The sums of the groups computed in parts that end at `cuts`; poisoned and guarded.
  std::vector<float> Run(const KernelTable& kernel, ExpertActivations activations, bool spaced,
                         const std::vector<int>& cuts) {
    const ModeKernels& mode = *kernel.mode(activations);
    const int64_t inputs = groups * kGroupInputs, row_bytes = mode.RowBytes(inputs);
    const int64_t stride = row_bytes + 24;
    // Rows that are not spaced lie in reverse order; both have poison between them.
    std::vector<uint8_t> rows(tokens * stride + 8, 0xee);
    std::vector<const uint8_t*> pointers;
    for (int t = 0; t < tokens; ++t) {
      uint8_t* row = rows.data() + (spaced ? t : tokens - 1 - t) * stride + 4;
      mode.quantize(&x[t * inputs], groups, row);
      pointers.push_back(row);
      EXPECT_EQ(row[row_bytes], 0xee) << "quantize wrote past the row";
    }
    auto* sums = reinterpret_cast<float*>(work.data());
    uint8_t* scratch = work.data() + kSumsBytes;
    for (int t = 0; t < kMaxTokens; ++t) {
      for (int i = 0; i < kSumsStride; ++i) {
        const bool written = t < tokens && i < n_panels * kPanelRows;
        sums[t * kSumsStride + i] = written ? std::numeric_limits<float>::quiet_NaN() : kGuard;
      }
    }
    std::memset(scratch + kScratchBytes, 0xab, kGuardBytes);

    DotArgs args;
    args.panels = panels.data();
    args.next = cuts.size() % 2 == 0 ? args.panels : nullptr;
    args.panel_bytes = PanelBytes(inputs);
    args.n_panels = n_panels;
    args.groups = groups;
    args.tokens = tokens;
    args.x = pointers.data();
    args.x_stride = spaced ? stride : 0;
    args.sums = sums;
    args.scratch = scratch;
    for (int cut : cuts) {
      args.first_group += args.n_groups;
      args.n_groups = cut - args.first_group;
      mode.dot(args);
    }

    std::vector<float> result;
    for (int t = 0; t < kMaxTokens; ++t) {
      for (int i = 0; i < kSumsStride; ++i) {
        const float sum = sums[t * kSumsStride + i];
        const bool written = t < tokens && i < n_panels * kPanelRows;
        if (written) result.push_back(sum);
        if (!written && sum != kGuard)
          ADD_FAILURE() << "sums[" << t << "][" << i << "] was overwritten: " << sum;
      }
    }
    for (int i = 0; i < kGuardBytes; ++i)
      EXPECT_EQ(scratch[kScratchBytes + i], 0xab) << "scratch was overrun";
    return result;
  }

  // sum |w x|: what an error is measured by.
  std::vector<double> Magnitudes() {
    std::vector<double> result;
    const int64_t inputs = groups * kGroupInputs;
    for (int t = 0; t < tokens; ++t) {
      for (int row = 0; row < n_panels * kPanelRows; ++row) {
        const uint8_t* panel = panels.data() + row / kPanelRows * PanelBytes(inputs);
        const auto* scales = reinterpret_cast<const bf16*>(panel + PanelScaleOffset(inputs));
        double sum = 0.0;
        for (int64_t i = 0; i < inputs; ++i)
          sum += 8 * std::fabs(ToFloat(scales[i / 32 * kPanelRows + row % kPanelRows]) *
                               ToFloat(x[t * inputs + i]));
        result.push_back(sum);
      }
    }
    return result;
  }

  std::string Describe() const {
    return absl::StrFormat("%d tokens, %d groups, %d panels", tokens, groups, n_panels);
  }
};

std::vector<int> RandomCuts(int groups, std::mt19937_64& random) {
  std::vector<int> cuts;
  for (int g = 1; g < groups; ++g)
    if (random() % 4 == 0) cuts.push_back(g);
  cuts.push_back(groups);
  return cuts;
}

using Parameters = std::tuple<Implementation, ExpertActivations>;
class Dot : public testing::TestWithParam<Parameters> {
 protected:
  const KernelTable& kernel() const { return *std::get<0>(GetParam()).table; }
  ExpertActivations activations() const { return std::get<1>(GetParam()); }
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_P(Dot, BitsDependNeitherOnCutsNorOnWhereRowsLie) {
  std::mt19937_64 random(kSeed);
  for (int tokens : {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 31, 32, 33, 48, 100, 128}) {
    for (int groups : {1, 2, 17, 35}) {
      if (tokens > 17 && groups == 35) continue;
      Call call(tokens, groups, tokens % 2 == 0 ? 4 : 2, random);
      const std::vector<float> whole = call.Run(kernel(), activations(), true, {groups});
      for (bool spaced : {true, false}) {
        const std::vector<int> cuts = RandomCuts(groups, random);
        EXPECT_TRUE(SameBits(call.Run(kernel(), activations(), spaced, cuts), whole))
            << call.Describe() << (spaced ? ", spaced, " : ", scattered, ") << cuts.size()
            << " parts, seed " << kSeed;
      }
    }
  }
}

TEST_P(Dot, ATokenAloneHasTheSameBits) {
  std::mt19937_64 random(kSeed);
  constexpr int kGroups = 19;
  Call all(70, kGroups, 2, random);
  const int row = all.n_panels * kPanelRows;
  for (int tokens : {1, 2, 5, 9, 12, 17, 40, 70}) {
    Call some = all;
    some.tokens = tokens;
    const std::vector<float> sums = some.Run(kernel(), activations(), true, {kGroups});
    for (int t = 0; t < tokens; t += 3) {
      Call one = all;
      one.tokens = 1;
      one.x.assign(&all.x[t * kGroups * 32], &all.x[t * kGroups * 32] + kGroups * 32);
      EXPECT_TRUE(SameBits(one.Run(kernel(), activations(), false, {kGroups}),
                           {&sums[t * row], &sums[t * row] + row}))
          << "token " << t << " of " << tokens;
    }
  }
}

// Cancelling sums: of F32 roundings a few per group (integers) or per input (BF16), relative to
// sum |w x|, which one wrong weight of 35 groups changes by 1e-4.
TEST_P(Dot, RandomCallsAgreeWithTheSpecification) {
  const char* variable = std::getenv("TANDEM_FUZZ_SECONDS");
  const double seconds = variable != nullptr ? std::atof(variable) : 0.15;
  const uint64_t seed = variable != nullptr ? std::random_device()() : kSeed;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  const auto begin = std::chrono::steady_clock::now();
  std::mt19937_64 random(seed);
  int64_t calls = 0;
  double worst = 0.0;
  do {
    const int tokens = static_cast<int>(random() % 3 == 0 ? 1 + random() % 128 : 1 + random() % 20);
    const int groups = static_cast<int>(1 + random() % 35);
    Call call(tokens, groups, random() % 2 == 0 ? 2 : 4, random);
    const std::vector<float> expected = call.Run(kReferenceTable, activations(), true, {groups});
    const std::vector<float> got =
        call.Run(kernel(), activations(), random() % 2 == 0, RandomCuts(groups, random));
    const std::vector<double> magnitudes = call.Magnitudes();
    for (size_t i = 0; i < got.size(); ++i) {
      const double error = std::fabs(got[i] - expected[i]) / (magnitudes[i] + 1e-30);
      worst = std::max(worst, std::isnan(error) ? 1.0 : error);
    }
    ASSERT_LE(worst, 5e-7) << call.Describe() << ", call " << calls << ", seed " << seed;
    ++calls;
  } while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() <
           seconds);
  std::printf("%d calls, worst error %.2g of sum |w x|\n", static_cast<int>(calls), worst);
}

INSTANTIATE_TEST_SUITE_P(All, Dot,
                         testing::Combine(testing::ValuesIn(RunnableImplementations()),
                                          testing::ValuesIn(kModes)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) + "_" +
                                  NameOf(std::get<1>(info.param));
                         });

// The emulation itself, on values whose answers are known by hand.
struct Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};
};
Config ThreeTiles(int m, int k_bytes, int n) {
  Config config;
  const int rows[3] = {m, k_bytes / 4, m}, bytes[3] = {k_bytes, 4 * n, 4 * n};  // A, B, C
  for (int t = 0; t < 3; ++t) {
    config.rows[t] = static_cast<uint8_t>(rows[t]);
    config.column_bytes[t] = static_cast<uint16_t>(bytes[t]);
  }
  return config;
}

TEST(EmulatedTiles, Int8IsSignedAndWraps) {
  EmulatedTiles::Configure(ThreeTiles(1, 4, 2));
  const int8_t a[4] = {-128, 127, -1, 5}, b[8] = {-128, -128, 1, 0, 1, 1, 1, 1};
  const int32_t start[2] = {std::numeric_limits<int32_t>::max(), 10};
  int32_t c[2];
  EmulatedTiles::Load<0>(a, 4);
  EmulatedTiles::Load<1>(b, 8);
  EmulatedTiles::Load<2>(start, 8);
  EmulatedTiles::DotInt8<2, 0, 1>();
  EmulatedTiles::Store<2>(c, 8);
  EXPECT_EQ(c[0], std::numeric_limits<int32_t>::min() + 16384 - 16256 - 1 - 1);
  EXPECT_EQ(c[1], 10 - 128 + 127 - 1 + 5);
  EmulatedTiles::Release();
  EXPECT_TRUE(EmulatedTiles::released());
}

TEST(EmulatedTiles, Bf16HasTwoChainsAndFlushesDenormals) {
  auto run = [](std::vector<float> a, std::vector<float> b, float start) {
    std::vector<bf16> a16, b16;
    for (float v : a) a16.push_back(ToBf16(v));
    for (float v : b) b16.push_back(ToBf16(v));
    EmulatedTiles::Configure(ThreeTiles(1, static_cast<int>(2 * a.size()), 1));
    float c;
    EmulatedTiles::Load<0>(a16.data(), 64);
    EmulatedTiles::Load<1>(b16.data(), 4);
    EmulatedTiles::Load<2>(&start, 4);
    EmulatedTiles::DotBf16<2, 0, 1>();
    EmulatedTiles::Store<2>(&c, 4);
    EmulatedTiles::Release();
    return c;
  };
  // Even chain 2^24, then -2^24; odd chain 1 and 1. One chain would lose both ones.
  EXPECT_EQ(run({0x1p24f, 1, -0x1p24f, 1}, {1, 1, 1, 1}, 0.0f), 2.0f);
  // The chains' sum is rounded before it meets C: 2^24 + (1 + 1), not (2^24 + 1) + 1.
  EXPECT_EQ(run({1, 1}, {1, 1}, 0x1p24f), 0x1p24f + 2);
  EXPECT_EQ(run({0x1p-130f, 0}, {0x1p100f, 0}, 0.0f), 0.0f) << "denormal inputs are zero";
  EXPECT_EQ(run({0x1p-70f, 0}, {0x1p-70f, 0}, 0.0f), 0.0f) << "denormal results are zero";
}

}  // namespace
}  // namespace tandem::test
