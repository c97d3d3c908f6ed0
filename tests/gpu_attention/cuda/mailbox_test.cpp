// The mailbox between the CPU and a (here emulated) GPU: what crosses, in any timing, and what is
// said when one side does not come.
#include "gpu_attention/cuda/mailbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr MailboxShape kShape = {.layers = 3, .parts = 2, .rows = 5, .hidden = 24, .top_k = 2};

// Both ends of a mailbox, with a step's worth of rows on the device.
struct Ends {
  Stream stream = *Stream::Create();
  Mailbox mailbox;
  DeviceBuffer step = *DeviceBuffer::Allocate(sizeof(uint32_t), "step");
  DeviceBuffer hidden = *DeviceBuffer::Allocate(5 * 24 * sizeof(bf16), "hidden");
  DeviceBuffer ids = *DeviceBuffer::Allocate(10 * sizeof(int32_t), "ids");
  DeviceBuffer weights = *DeviceBuffer::Allocate(10 * sizeof(float), "weights");
  DeviceBuffer h = *DeviceBuffer::Allocate(5 * 24 * sizeof(float), "h");
  DeviceBuffer own = *DeviceBuffer::Allocate(5 * 24 * sizeof(float), "own");

  explicit Ends(std::chrono::nanoseconds timeout) : mailbox(*Mailbox::Create(kShape, timeout)) {}

  void Begin(uint32_t number, int32_t tokens, float value) {
    mailbox.BeginStep(number);
    const std::vector<bf16> rows(tokens * kShape.hidden, ToBf16(value));
    const std::vector<int32_t> expert_ids(tokens * kShape.top_k, static_cast<int32_t>(number));
    const std::vector<float> factors(tokens * kShape.top_k, value / 2);
    stream.CopyToDevice(step.as<uint32_t>(), &number, 1);
    stream.CopyToDevice(hidden.as<bf16>(), rows.data(), std::ssize(rows));
    stream.CopyToDevice(ids.as<int32_t>(), expert_ids.data(), std::ssize(expert_ids));
    stream.CopyToDevice(weights.as<float>(), factors.data(), std::ssize(factors));
    stream.FillZero(h.as<float>(), tokens * kShape.hidden);
    stream.FillZero(own.as<float>(), tokens * kShape.hidden);
    ASSERT_TRUE(stream.Synchronize().ok());
  }
  void Publish(LayerId layer, int part, int32_t tokens) {
    mailbox.Publish(stream, layer, part, tokens,
                    {hidden.as<bf16>(), ids.as<int32_t>(), weights.as<float>()},
                    step.as<uint32_t>());
  }
  void AddAnswer(LayerId layer, int part, int32_t tokens) {
    mailbox.AddAnswer(stream, layer, part, tokens, h.as<float>(), own.as<float>(),
                      step.as<uint32_t>());
  }
};

// Sums that show which step, layer and part they are of.
float AnswerOf(uint32_t step, LayerId layer, int part) {
  return static_cast<float>(step % 1000) + 0.25f * static_cast<float>(layer.value) +
         0.0625f * static_cast<float>(part);
}

void CheckRows(const RoutedTokens& rows, int32_t tokens, uint32_t step, float value) {
  ASSERT_EQ(rows.hidden.dim(0), tokens);
  for (int32_t t = 0; t < tokens; ++t) {
    for (int32_t i = 0; i < kShape.hidden; ++i) ASSERT_EQ(ToFloat(rows.hidden(t, i)), value);
    for (int32_t k = 0; k < kShape.top_k; ++k) {
      ASSERT_EQ(rows.expert_ids(t, k), static_cast<int32_t>(step));
      ASSERT_EQ(rows.weights(t, k), value / 2);
    }
  }
}

class MailboxTest : public GpuTest {};

TEST_F(MailboxTest, CrossesTenThousandStepsInAnyTiming) {
  Ends ends(std::chrono::seconds(60));
  std::mt19937 random(7);
  const auto maybe_late = [&] {
    if (random() % 64 == 0) std::this_thread::sleep_for(microseconds(random() % 200));
  };
  constexpr uint32_t kSteps = 10000;
  for (uint32_t step = 1; step <= kSteps; ++step) {
    const int32_t tokens = 1 + static_cast<int32_t>(step % 5);
    const float value = static_cast<float>(step % 100);
    ASSERT_NO_FATAL_FAILURE(ends.Begin(step, tokens, value));
    float want = 0;
    for (LayerId layer{0}; layer.value < 2; ++layer.value) {
      for (int part = 0; part < 1 + static_cast<int>(step % 8 == 0); ++part) {
        // The GPU may be first or last to come.
        const bool early = random() % 2 == 0;
        if (!early) maybe_late();
        ends.Publish(layer, part, tokens);
        if (early) ends.AddAnswer(layer, part, tokens);
        maybe_late();
        ASSERT_TRUE(ends.mailbox.AwaitRows(layer, part, ends.stream).ok());
        ASSERT_NO_FATAL_FAILURE(CheckRows(ends.mailbox.Rows(part, tokens), tokens, step, value));
        const View<float, 2> answer = ends.mailbox.Answer(part, tokens);
        for (int64_t i = 0; i < answer.size(); ++i) answer.data()[i] = AnswerOf(step, layer, part);
        want += AnswerOf(step, layer, part);
        maybe_late();
        ends.mailbox.RingAnswered(layer, part);
        if (!early) ends.AddAnswer(layer, part, tokens);
      }
    }
    std::vector<float> got(tokens * kShape.hidden);
    ends.stream.CopyToHost<float>(got.data(), ends.h.as<float>(), std::ssize(got));
    ASSERT_TRUE(ends.stream.Synchronize().ok());
    ASSERT_TRUE(ends.mailbox.CheckDevice().ok());
    for (const float h : got) ASSERT_EQ(h, want) << "step " << step;
  }
}

TEST_F(MailboxTest, AGpuThatDoesNotComeIsNamed) {
  Ends ends(milliseconds(50));
  ends.Begin(1, 2, 3.0f);
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status = ends.mailbox.AwaitRows({2}, 1, ends.stream);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("layer 2: the GPU did not hand over its rows within 0.0625 s"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(MailboxTest, ACpuThatDoesNotAnswerIsNamed) {
  Ends ends(milliseconds(50));
  ends.Begin(1, 2, 3.0f);
  ends.Publish({1}, 1, 2);
  ends.AddAnswer({1}, 1, 2);
  ends.AddAnswer({2}, 0, 2);  // nobody comes here either: it must not wait another time
  ASSERT_TRUE(ends.stream.Synchronize().ok());
  const absl::Status status = ends.mailbox.CheckDevice();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr("layer 1: the CPU's experts did not answer within 0.05 s (step 1, part 1)"));
  // The next step starts afresh.
  ends.Begin(2, 1, 1.0f);
  EXPECT_TRUE(ends.mailbox.CheckDevice().ok());
  ends.Publish({0}, 0, 1);
  EXPECT_TRUE(ends.mailbox.AwaitRows({0}, 0, ends.stream).ok());
}

TEST_F(MailboxTest, AnAbandonedStepDoesNotWait) {
  Ends ends(std::chrono::seconds(60));
  ends.Begin(1, 2, 3.0f);
  for (int32_t layer = 0; layer < 3; ++layer) ends.AddAnswer({layer}, 0, 2);
  const auto begin = std::chrono::steady_clock::now();
  ends.mailbox.Abandon();
  ASSERT_TRUE(ends.stream.Synchronize().ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
