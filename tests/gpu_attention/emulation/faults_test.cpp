// The emulation finds what it promises to find: each kernel here breaks one rule.
#include <gmock/gmock.h>

#include <cmath>

#include "gpu_attention/cuda/device.cuh"
#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/cuda/mma.cuh"
#include "gpu_attention/emulation/emulated_device.h"
#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::emulated {
namespace {

using testing::HasSubstr;

struct Args {
  Global<float> x;  // [64]
  int mode = 0;
};

class FaultsTest : public GpuTest {
 protected:
  // Runs `kernel` in blocks of 64 threads and returns what the stream says.
  std::string Fault(void (*kernel)(Args), int mode = 0, LaunchShape shape = {.threads = 64}) {
    Stream stream = Stream::Create().value();
    Launch(stream, "Broken", kernel, shape, {x_.data(), mode});
    const absl::Status status = stream.Synchronize();
    EXPECT_EQ(stream.Synchronize(), status) << "the error stays";
    if (status.ok()) return "";
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("kernel Broken, block ("));
    return std::string(status.message());
  }

  const DeviceTensor<float> x_{std::vector<float>(64, 1.0f)};
};

// --- bounds and alignment ------------------------------------------------------------------------

void OutOfBounds(Args args) {
  if (threadIdx.x != 3) return;
  const int at[] = {63, 64, -1, 1 << 20};
  args.x[at[args.mode]] = 5.0f;
}
void ReadOutOfBounds(Args args) {
  const float4 last = LoadAs<float4>(args.x + 60 + args.mode);
  if (last.x < 0) args.x[0] = 1.0f;
}
void Misaligned(Args args) { StoreAs(args.x + args.mode, make_float4(1, 2, 3, 4)); }
void MisalignedByCast(Args args) { PointerCast<float2>(args.x + args.mode)[0] = {1, 2}; }
void NullPointer(Args) {
  Global<float> none = nullptr;
  *none = 1.0f;
}

TEST_F(FaultsTest, GlobalBounds) {
  EXPECT_EQ(Fault(OutOfBounds, 0), "");
  EXPECT_THAT(Fault(OutOfBounds, 1),
              HasSubstr("block (0, 0, 0), thread 3: global memory: 4 bytes at byte 256 of 256"));
  EXPECT_THAT(Fault(OutOfBounds, 2), HasSubstr("4 bytes at byte -4 of 256"));
  EXPECT_THAT(Fault(OutOfBounds, 3), HasSubstr("4 bytes at byte 4194304 of 256"));
  EXPECT_EQ(Fault(ReadOutOfBounds, 0), "");
  EXPECT_THAT(Fault(ReadOutOfBounds, 4), HasSubstr("16 bytes at byte 256 of 256"));
  EXPECT_THAT(Fault(NullPointer), HasSubstr("null pointer"));
}

TEST_F(FaultsTest, Alignment) {
  EXPECT_EQ(Fault(Misaligned, 4), "");
  EXPECT_THAT(Fault(Misaligned, 2), HasSubstr("16 bytes at byte 8 are not aligned to 16"));
  EXPECT_EQ(Fault(MisalignedByCast, 2), "");
  EXPECT_THAT(Fault(MisalignedByCast, 1), HasSubstr("8 bytes at byte 4 are not aligned to 8"));
}

void SharedNeighbours(Args args) {
  SharedArena arena;
  const Shared<float> first = arena.Take<float>(10);
  const Shared<float> second = arena.Take<float>(64);
  second[threadIdx.x] = 1.0f;
  __syncthreads();
  args.x[threadIdx.x] = first[args.mode];  // 32: where `second` begins
}
void SharedNotWritten(Args args) {
  SharedArena arena;
  args.x[threadIdx.x] = arena.Take<float>(64)[threadIdx.x];
}

TEST_F(FaultsTest, SharedMemory) {
  const LaunchShape shape = {.threads = 64, .shared_bytes = 384};
  EXPECT_EQ(Fault(SharedNeighbours, 9, shape), "");
  EXPECT_THAT(Fault(SharedNeighbours, 32, shape),
              HasSubstr("shared memory: 4 bytes at byte 128 of 40"));
  EXPECT_THAT(Fault(SharedNeighbours, 10, shape),
              HasSubstr("shared memory: 4 bytes at byte 40 of 40"));
  EXPECT_THAT(Fault(SharedNeighbours, 9, {.threads = 64, .shared_bytes = 256}),
              HasSubstr("256 bytes from 128 on, but the launch has 256"));
  EXPECT_EQ(Fault(SharedNotWritten, 0, shape), "");
  for (const float value : x_.Read(*stream_)) EXPECT_TRUE(std::isnan(value));
}

TEST_F(FaultsTest, LaunchesThatNoDeviceTakes) {
  const auto refused = [&](LaunchShape shape) {
    Stream stream = Stream::Create().value();
    Launch(stream, "Broken", SharedNotWritten, shape, {x_.data()});
    EXPECT_EQ(stream.Synchronize().code(), absl::StatusCode::kInvalidArgument);
    return std::string(stream.status().message());
  };
  SetSharedBytesPerBlock(99 * 1024);
  EXPECT_EQ(OpenDevice()->shared_bytes_per_block, 99 * 1024);
  EXPECT_THAT(refused({.shared_bytes = 99 * 1024 + 1}), HasSubstr("the device has 101376"));
  SetSharedBytesPerBlock(kMostSharedBytes);
  EXPECT_THAT(refused({.shared_bytes = kMostSharedBytes + 1}), HasSubstr("kernel Broken"));
  EXPECT_THAT(refused({.threads = 48}), HasSubstr("a block of 48 threads"));
  EXPECT_THAT(refused({.threads = 1056}), HasSubstr("a block of 1056 threads"));
  EXPECT_THAT(refused({.blocks_y = 65536}), HasSubstr("1 x 65536 x 1 blocks"));
}

// --- barriers ------------------------------------------------------------------------------------

void BarrierOfSome(Args args) {
  if (args.mode == 0 && threadIdx.x == 40) return;  // a thread
  if (args.mode == 1 && threadIdx.x >= 32) return;  // a warp
  if (args.mode == 2 && threadIdx.x % 2 == 0) {     // two places
    __syncthreads();
    return;
  }
  if (args.mode == 3 && threadIdx.x / 32 == 1) __syncwarp();  // all of the warp: allowed
  __syncthreads();
}
void LanesOfSome(Args args) {
  const int lane = threadIdx.x % 32;
  float x = 1.0f;
  switch (args.mode) {
    case 0:  // lanes have ended
      if (lane < 4) return;
      x = ShuffleXor(x, 1);
      break;
    case 1:  // the others wait for the block
      if (lane >= 30) x = Shuffle(x, 0);
      __syncthreads();
      break;
    case 2:  // different operations
      x = lane == 7 ? static_cast<float>(Ballot(true)) : WarpSum(x);
      break;
    case 3:  // the same at two places
      if (lane < 16) {
        __syncwarp();
      } else {
        __syncwarp();
      }
      break;
    case 4: {
      if (lane == 31) return;
      float d[4] = {};
      Mma16816(d, {0, 0, 0, 0}, {0, 0});
      break;
    }
  }
  args.x[threadIdx.x] = x;
}

TEST_F(FaultsTest, BarriersThatNotAllReach) {
  EXPECT_THAT(Fault(BarrierOfSome, 0),
              testing::AllOf(HasSubstr("divergence"),
                             HasSubstr("lanes 0-31 of warp 0 wait in "
                                       "__syncthreads at faults_test.cpp"),
                             HasSubstr("lanes 0-7, 9-31 of warp 1 wait in __syncthreads"),
                             HasSubstr("lanes 8 of warp 1 have ended")));
  EXPECT_THAT(Fault(BarrierOfSome, 1), HasSubstr("lanes 0-31 of warp 1 have ended"));
  EXPECT_THAT(Fault(BarrierOfSome, 2), HasSubstr("barrier divergence: __syncthreads at"));
  EXPECT_EQ(Fault(BarrierOfSome, 3), "");
}

TEST_F(FaultsTest, WarpOperationsThatNotAllReach) {
  EXPECT_THAT(Fault(LanesOfSome, 0),
              testing::AllOf(HasSubstr("lanes 4-31 of warp 0 wait in ShuffleXor"),
                             HasSubstr("lanes 0-3 of warp 0 have ended")));
  EXPECT_THAT(Fault(LanesOfSome, 1),
              testing::AllOf(HasSubstr("lanes 30-31 of warp 0 wait in Shuffle at"),
                             HasSubstr("lanes 0-29 of warp 0 wait in __syncthreads")));
  EXPECT_THAT(Fault(LanesOfSome, 2), testing::AllOf(HasSubstr("thread 7: warp divergence: Ballot"),
                                                    HasSubstr("lanes 0-6 wait in ShuffleXor")));
  EXPECT_THAT(Fault(LanesOfSome, 3), HasSubstr("warp divergence: __syncwarp"));
  EXPECT_THAT(Fault(LanesOfSome, 4), HasSubstr("lanes 0-30 of warp 0 wait in Mma16816"));
}

// --- asynchronous copies -------------------------------------------------------------------------

void CopyWithoutWait(Args args) {
  SharedArena arena;
  const Shared<float> staged = arena.Take<float>(64);
  if (threadIdx.x < 16) CopyAsync16(staged + threadIdx.x * 4, args.x + threadIdx.x * 4);
  if (args.mode != 1) CopyAsyncCommit();
  if (args.mode <= 1) CopyAsyncWait<0>();
  if (args.mode == 2) CopyAsyncWait<1>();
  __syncthreads();
  args.x[threadIdx.x] = staged[threadIdx.x];
}
void CopyMisaligned(Args args) {
  SharedArena arena;
  CopyAsync16(arena.Take<float>(8), args.x + args.mode);
}

TEST_F(FaultsTest, CopiesThatNobodyWaitedFor) {
  const LaunchShape shape = {.threads = 64, .shared_bytes = 256};
  EXPECT_EQ(Fault(CopyWithoutWait, 0, shape), "");
  for (const float value : x_.Read(*stream_)) EXPECT_EQ(value, 1.0f);
  for (const int mode : {1, 2, 3}) {  // not committed, the last group left out, no wait
    const DeviceTensor<float> x(std::vector<float>(64, 1.0f));
    Launch(*stream_, "Broken", CopyWithoutWait, shape, {x.data(), mode});
    for (const float value : x.Read(*stream_)) EXPECT_TRUE(std::isnan(value)) << mode;
  }
  EXPECT_THAT(Fault(CopyMisaligned, 1, shape), HasSubstr("not aligned to 16"));
  EXPECT_THAT(Fault(CopyMisaligned, 64, shape), HasSubstr("16 bytes at byte 256 of 256"));
}

// --- what a fault does ---------------------------------------------------------------------------

void SecondBlockBreaks(Args args) {
  if (blockIdx.x == 1) args.x[64] = 1.0f;
  args.x[0] = 2.0f;
}

TEST_F(FaultsTest, AFaultEndsTheStreamsWorkAndNothingElse) {
  const DeviceTensor<float> x(std::vector<float>(64, 1.0f));
  Stream stream = Stream::Create().value();
  Launch(stream, "Broken", SecondBlockBreaks, {.blocks_x = 2}, {x.data()});
  stream.FillZero(x.data(), 64);
  EXPECT_THAT(std::string(stream.Synchronize().message()), HasSubstr("block (1, 0, 0), thread 0"));
  EXPECT_EQ(x.Read(*stream_)[1], 1.0f) << "work behind a fault is left out";
  Launch(*stream_, "Works", OutOfBounds, {.threads = 64}, {x.data(), 0});
  EXPECT_EQ(x.Read(*stream_)[63], 5.0f);
}

TEST_F(FaultsTest, HostCodeIsStopped) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(x_.data()[64] = 1.0f, "host code: global memory: 4 bytes at byte 256 of 256");
  std::vector<float> host(65);
  EXPECT_DEATH(stream_->CopyToHost(host.data(), x_.data(), 65), "260 bytes at byte 0 of 256");
}

TEST_F(FaultsTest, TheMemoryBudget) {
  const int64_t before = OpenDevice()->free_bytes;
  {
    const DeviceBuffer buffer = DeviceBuffer::Allocate(1 << 20, "a MiB").value();
    EXPECT_EQ(OpenDevice()->free_bytes, before - (1 << 20));
  }
  EXPECT_EQ(OpenDevice()->free_bytes, before);
  const int64_t all = OpenDevice()->memory_bytes;
  SetMemoryBudget(all - before + 1000);
  EXPECT_TRUE(DeviceBuffer::Allocate(1000, "what is there").ok());
  const auto refused = DeviceBuffer::Allocate(1001, "the cache").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("the cache needs 1001 bytes of GPU memory, but 1000 are free"));
  SetMemoryBudget(all);
}

}  // namespace
}  // namespace tandem::emulated
