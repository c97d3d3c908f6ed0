// What device.cuh and mma.cuh promise, against plain loops. All values are distinct, so that a
// fragment with two elements swapped is seen.
#include "tests/gpu_attention/cuda/primitives.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

class PrimitivesTest : public GpuTest {};

TEST_F(PrimitivesTest, MmaMultipliesEveryRowByEveryColumn) {
  // Integers, so that every order of summation gives the same.
  std::vector<float> a(16 * 16), b(16 * 8), d(16 * 8);
  for (int i = 0; i < 256; ++i) a[i] = static_cast<float>((i * 37) % 251 - 125);
  for (int i = 0; i < 128; ++i) b[i] = static_cast<float>((i * 53) % 127 - 63);
  for (int i = 0; i < 128; ++i) d[i] = static_cast<float>(1000 * i);
  const DeviceTensor<bf16> da(ToBf16s(a)), db(ToBf16s(b));
  const DeviceTensor<float> dd(d);
  MmaOnce(*stream_, {da.data(), db.data(), dd.data()});
  const std::vector<float> got = dd.Read(*stream_);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float want = d[row * 8 + column];
      for (int k = 0; k < 16; ++k) want += a[row * 16 + k] * b[k * 8 + column];
      EXPECT_EQ(got[row * 8 + column], want) << row << ", " << column;
    }
  }
}

TEST_F(PrimitivesTest, LoadMatrixDealsOutEveryElement) {
  std::vector<bf16> in(4 * 64);
  for (int i = 0; i < 256; ++i) in[i].bits = static_cast<uint16_t>(i + 1);
  const DeviceTensor<bf16> din(in);
  const DeviceTensor<uint32_t> out(2 * 32 * 4);
  LoadMatrices(*stream_, {din.data(), out.data()});
  const std::vector<uint32_t> got = out.Read(*stream_);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const auto value = [&](int row, int column) -> uint32_t {
        return i * 64 + row * 8 + column + 1;
      };
      const int g = lane / 4, t = 2 * (lane % 4);
      EXPECT_EQ(got[lane * 4 + i], value(g, t) | value(g, t + 1) << 16) << lane << ", " << i;
      EXPECT_EQ(got[(32 + lane) * 4 + i], value(t, g) | value(t + 1, g) << 16)
          << "transposed " << lane << ", " << i;
    }
  }
}

TEST_F(PrimitivesTest, LanesExchangeValues) {
  std::vector<float> in(32);
  for (int i = 0; i < 32; ++i) in[i] = static_cast<float>((i * 13) % 32 - 20);
  const DeviceTensor<float> din(in), exchanged(5 * 32), rotated(32), sum(32), max(32);
  const DeviceTensor<uint32_t> negative(32);
  ExchangeLanes(*stream_, {din.data(), exchanged.data(), rotated.data(), negative.data(),
                           sum.data(), max.data()});
  uint32_t want_negative = 0;
  for (int i = 0; i < 32; ++i) want_negative |= uint32_t{in[i] < 0} << i;
  const std::vector<float> got_exchanged = exchanged.Read(*stream_);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 5; ++i) EXPECT_EQ(got_exchanged[i * 32 + lane], in[lane ^ (1 << i)]);
    EXPECT_EQ(rotated.Read(*stream_)[lane], in[(lane + 5) % 32]);
    EXPECT_EQ(negative.Read(*stream_)[lane], want_negative);
    EXPECT_EQ(sum.Read(*stream_)[lane], std::accumulate(in.begin(), in.end(), 0.0f));
    EXPECT_EQ(max.Read(*stream_)[lane], 11.0f);
  }
}

TEST_F(PrimitivesTest, BlockSumOfOneWarpAndMany) {
  for (const uint32_t threads : {32u, 64u, 352u, 1024u}) {
    const uint32_t blocks = 3;
    std::vector<float> in(blocks * threads);
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>((i * 31) % 64);
    const DeviceTensor<float> din(in), out(static_cast<int64_t>(in.size()));
    SumBlocks(*stream_, {din.data(), out.data(), blocks, threads});
    const std::vector<float> got = out.Read(*stream_);
    for (size_t i = 0; i < in.size(); ++i) {
      const auto begin = in.begin() + i / threads * threads;
      ASSERT_EQ(got[i], 2 * std::accumulate(begin, begin + threads, 0.0f)) << threads << " " << i;
    }
  }
}

TEST_F(PrimitivesTest, AsynchronousCopiesArriveInOrder) {
  for (const int32_t steps : {1, 3, 4, 9}) {
    for (const int32_t valid : {steps, steps / 2}) {
      std::vector<float> in(steps * 128);
      std::iota(in.begin(), in.end(), 1.0f);
      const DeviceTensor<float> din(in), out(steps * 128);
      CopyThroughPipeline(*stream_, {din.data(), out.data(), steps, valid});
      std::fill(in.begin() + valid * 128, in.end(), 0.0f);
      EXPECT_EQ(out.Read(*stream_), in) << steps << ", " << valid;
    }
  }
}

TEST_F(PrimitivesTest, AtomicsOfManyBlocks) {
  const uint32_t blocks = 40, threads = blocks * 64;
  const DeviceTensor<int32_t> sum(std::vector<int32_t>{0}), max(std::vector<int32_t>{-1});
  const DeviceTensor<float> float_sum(std::vector<float>{0});
  const DeviceTensor<uint32_t> tickets(std::vector<uint32_t>(threads, 0)),
      next(std::vector<uint32_t>{0});
  CountAtomically(*stream_,
                  {sum.data(), tickets.data(), next.data(), float_sum.data(), max.data(), blocks});
  int32_t want_max = 0;
  for (uint32_t i = 0; i < threads; ++i) {
    want_max = std::max(want_max, static_cast<int32_t>(i * 7919 % 10007));
  }
  EXPECT_EQ(sum.Read(*stream_)[0], static_cast<int32_t>(threads * (threads - 1) / 2));
  EXPECT_EQ(float_sum.Read(*stream_)[0], threads / 2);
  EXPECT_EQ(max.Read(*stream_)[0], want_max);
  EXPECT_EQ(next.Read(*stream_)[0], threads);
  EXPECT_EQ(tickets.Read(*stream_), std::vector<uint32_t>(threads, 1));
}

TEST_F(PrimitivesTest, EveryThreadOfTheGridRunsOnce) {
  const uint32_t x = 3, y = 2, z = 4, threads = 96;
  const DeviceTensor<uint32_t> out(x * y * z * threads);
  WriteIndices(*stream_, {out.data()}, x, y, z, threads);
  const std::vector<uint32_t> got = out.Read(*stream_);
  for (uint32_t i = 0; i < got.size(); ++i) {
    const uint32_t block = i / threads;
    const uint32_t bx = block % x, by = block / x % y, bz = block / x / y;
    ASSERT_EQ(got[i], i % threads + 1000 * (bx + 100 * by + 10000 * bz)) << i;
  }
  WriteIndices(*stream_, {nullptr}, x, 0, z, threads);  // an empty grid
  EXPECT_EQ(stream_->Synchronize(), absl::OkStatus());
}

TEST_F(PrimitivesTest, RoundingIsToNearestEven) {
  std::vector<float> in = RandomFloats(64, 5);
  for (int i = 0; i < 8; ++i) in[i] = 1.0f + (2 * i + 1) / 256.0f;  // halfway
  in[8] = 3e38f, in[9] = 1e-40f, in[10] = -0.0f, in[11] = std::numeric_limits<float>::infinity();
  const DeviceTensor<float> din(in);
  const DeviceTensor<uint32_t> packed(32);
  const DeviceTensor<bf16> rounded(64);
  RoundPairs(*stream_, {din.data(), packed.data(), rounded.data()});
  const std::vector<uint32_t> pairs = packed.Read(*stream_);
  const std::vector<bf16> single = rounded.Read(*stream_);
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(single[i].bits, ToBf16(in[i]).bits) << in[i];
    EXPECT_EQ(pairs[i / 2] >> i % 2 * 16 & 0xffff, ToBf16(in[i]).bits) << in[i];
  }
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
