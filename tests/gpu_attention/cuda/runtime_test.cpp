// Memory, streams, events and graphs.
#include "gpu_attention/cuda/runtime.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/gpu_attention/cuda/gpu_test.h"
#include "tests/gpu_attention/cuda/primitives.h"

namespace tandem::TANDEM_GPU {
namespace {

class RuntimeTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (!IsSkipped()) words_ = PinnedBuffer::Allocate(5 * 4, "words").value();
  }
  static Stream NewStream() { return Stream::Create().value(); }

  // Words that kernels and the host share: flag, reply, "gave up", payload, answer.
  PinnedBuffer words_;
  std::atomic_ref<uint32_t> word(int i) { return std::atomic_ref(words_.host<uint32_t>()[i]); }
  Global<uint32_t> device_word(int i) { return words_.device<uint32_t>(i * 4, 1); }
  SignalArgs WaitFor(int i, uint32_t expected) {
    return {.flag = device_word(i),
            .expected = expected,
            .payload = nullptr,
            .answer = nullptr,
            .reply = nullptr,
            .gave_up = device_word(2)};
  }
  SignalArgs Set(int i, uint32_t value) {
    SignalArgs args = WaitFor(i, value);
    args.flag = nullptr;
    args.reply = device_word(i);
    return args;
  }
};

TEST_F(RuntimeTest, DeviceNamesItself) {
  EXPECT_FALSE(device_.name.empty());
  EXPECT_GE(device_.multiprocessors, 1);
  EXPECT_GE(device_.shared_bytes_per_block, 99 * 1024);
  EXPECT_GT(device_.free_bytes, 0);
  EXPECT_LE(device_.free_bytes, device_.memory_bytes);
  EXPECT_GE(device_.compute_major, 8);
  EXPECT_EQ(OpenDevice(99).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RuntimeTest, BuffersMove) {
  DeviceBuffer a = DeviceBuffer::Allocate(1000, "a").value();
  const Global<uint8_t> p = a.as<uint8_t>();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(RawPointer(p, 1000)) % 256, 0u);
  DeviceBuffer b = std::move(a);
  EXPECT_EQ(b.as<uint8_t>(), p);
  EXPECT_EQ(b.bytes(), 1000u);
  EXPECT_EQ(DeviceBuffer::Allocate(0, "nothing").value().bytes(), 0u);
}

TEST_F(RuntimeTest, TooMuchMemoryIsAnErrorThatNamesIt) {
  const auto buffer = DeviceBuffer::Allocate(size_t{1} << 50, "the cache of latents");
  ASSERT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(buffer.status().message().find("the cache of latents"), std::string::npos);
  // It is the caller's error alone: the device goes on.
  EXPECT_TRUE(DeviceBuffer::Allocate(4096, "little").ok());
  const DeviceTensor<int32_t> values(std::vector<int32_t>{1, 2});
  AddTo(*stream_, {values.data(), 2, 1});
  EXPECT_EQ(values.Read(*stream_), (std::vector<int32_t>{2, 3}));
}

TEST_F(RuntimeTest, CopiesAndFills) {
  std::vector<int32_t> in(1000), out(1000), pinned_out(1000);
  for (int i = 0; i < 1000; ++i) in[i] = i * i;
  const DeviceTensor<int32_t> a(1000), b(1000);
  stream_->CopyToDevice(a.data(), in.data(), 1000);
  stream_->CopyOnDevice(b.data() + 10, a.data() + 20, 900);
  stream_->FillZero(b.data() + 100, 3);
  const std::vector<int32_t> got = b.Read(*stream_);
  for (int i = 0; i < 1000; ++i) {
    const bool copied = i >= 10 && i < 910, zero = i >= 100 && i < 103;
    ASSERT_EQ(got[i], zero ? 0 : copied ? in[i + 10] : -1) << i;
  }
  const PinnedRegion pinned = PinnedRegion::Pin(std::as_bytes(std::span(pinned_out))).value();
  stream_->CopyToHost(pinned_out.data(), a.data(), 1000);
  EXPECT_EQ(stream_->Synchronize(), absl::OkStatus());
  EXPECT_EQ(pinned_out, in);
}

TEST_F(RuntimeTest, HostAndKernelTalkThroughMappedMemory) {
  words_.host<int32_t>()[3] = 0;
  for (uint32_t round = 1; round <= 50; ++round) {
    SignalArgs args = WaitFor(0, round);
    args.payload = words_.device<int32_t>(12, 1);
    args.answer = words_.device<int32_t>(16, 1);
    args.reply = device_word(1);
    WaitAndReply(*stream_, args);
    words_.host<int32_t>()[3] = static_cast<int32_t>(round) * 1000;
    word(0).store(round, std::memory_order_release);
    while (word(1).load(std::memory_order_acquire) != round && word(2).load() == 0) {
      std::this_thread::yield();
    }
    ASSERT_EQ(words_.host<int32_t>()[4], static_cast<int32_t>(round) * 1000 + 1);
  }
  EXPECT_EQ(stream_->Synchronize(), absl::OkStatus());
  EXPECT_EQ(word(2).load(), 0u) << "the kernel waited in vain";
}

TEST_F(RuntimeTest, StreamsRunAtTheSameTime) {
  Stream other = NewStream();
  WaitAndReply(*stream_, WaitFor(0, 7));  // only the later kernel of the other stream ends this
  WaitAndReply(other, Set(0, 7));
  EXPECT_EQ(other.Synchronize(), absl::OkStatus());
  EXPECT_EQ(stream_->Synchronize(), absl::OkStatus());
  EXPECT_EQ(word(2).load(), 0u) << "the kernel waited in vain";
}

TEST_F(RuntimeTest, EventsOrderStreams) {
  Stream other = NewStream();
  Event ready = Event::Create().value();
  EXPECT_TRUE(ready.IsDone());
  WaitAndReply(*stream_, WaitFor(0, 1));
  const DeviceTensor<int32_t> value(std::vector<int32_t>{5});
  AddTo(*stream_, {value.data(), 1, 10});
  ready.Record(*stream_);
  other.Wait(ready);
  PinnedBuffer seen = PinnedBuffer::Allocate(4, "seen").value();
  other.CopyToHost(seen.host<int32_t>(), value.data(), 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(ready.IsDone());
  EXPECT_EQ(seen.host<int32_t>()[0], 0) << "the copy did not wait";
  word(0).store(1, std::memory_order_release);
  EXPECT_EQ(ready.Synchronize(), absl::OkStatus());
  EXPECT_TRUE(ready.IsDone());
  EXPECT_EQ(other.Synchronize(), absl::OkStatus());
  EXPECT_EQ(seen.host<int32_t>()[0], 15);
}

TEST_F(RuntimeTest, EventsMeasureTime) {
  Event begin = Event::Create().value(), end = Event::Create().value();
  begin.Record(*stream_);
  WaitAndReply(*stream_, WaitFor(0, 1));
  end.Record(*stream_);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  word(0).store(1, std::memory_order_release);
  EXPECT_EQ(end.Synchronize(), absl::OkStatus());
  EXPECT_GT(Event::ElapsedMs(begin, end), 15.0);
  EXPECT_LT(Event::ElapsedMs(begin, end), 20000.0);
}

TEST_F(RuntimeTest, AGraphSeesWhatTheBuffersHoldWhenItIsLaunched) {
  const DeviceTensor<int32_t> values(std::vector<int32_t>{0, 0, 0});
  PinnedBuffer in = PinnedBuffer::Allocate(12, "in").value();
  PinnedBuffer out = PinnedBuffer::Allocate(12, "out").value();
  const auto graph = Graph::Record(*stream_, [&](Stream& stream) {
    stream.CopyToDevice(values.data(), in.host<int32_t>(), 3);
    AddTo(stream, {values.data(), 3, 100});
    AddTo(stream, {values.data(), 2, 1000});
    stream.CopyToHost(out.host<int32_t>(), values.data(), 3);
  });
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(values.Read(*stream_), (std::vector<int32_t>{0, 0, 0})) << "recording ran the work";
  for (int32_t round = 1; round < 4; ++round) {
    for (int i = 0; i < 3; ++i) in.host<int32_t>()[i] = round * 10 + i;
    graph->Launch(*stream_);
    ASSERT_EQ(stream_->Synchronize(), absl::OkStatus());
    EXPECT_EQ(out.host<int32_t>()[1], round * 10 + 1 + 1100);
    EXPECT_EQ(out.host<int32_t>()[2], round * 10 + 2 + 100);
  }
  // Twice in a row, in another stream.
  const auto adder = Graph::Record(*stream_, [&](Stream& stream) {
    AddTo(stream, {values.data(), 3, 1});
  });
  ASSERT_TRUE(adder.ok()) << adder.status();
  Stream other = NewStream();
  adder->Launch(other);
  adder->Launch(other);
  EXPECT_EQ(values.Read(other), (std::vector<int32_t>{1132, 1133, 134}));
}

TEST_F(RuntimeTest, TheFirstErrorStaysWithTheKernelsName) {
  const DeviceTensor<uint32_t> out(32);
  EXPECT_EQ(stream_->Synchronize(), absl::OkStatus());
  WriteIndices(*stream_, {out.data()}, 1, 1, 1, 2048);  // no GPU has such blocks
  stream_->Fail(absl::AbortedError("a later one"));
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = stream_->Synchronize();
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find("Shape"), std::string::npos) << status;
  }
  EXPECT_EQ(stream_->status(), stream_->Synchronize());
  Stream other = NewStream();
  WriteIndices(other, {out.data()}, 1, 1, 1, 32);
  EXPECT_EQ(out.Read(other)[31], 31u) << "another stream goes on";
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
