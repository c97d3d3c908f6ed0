// What the tests of GPU code share. Everything is in namespace tandem::TANDEM_GPU, so that one body
// tests a GPU and its emulation.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// Skips where there is no GPU.
class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto device = OpenDevice();
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    device_ = *device;
    auto stream = Stream::Create();
    ASSERT_TRUE(stream.ok()) << stream.status();
    stream_ = std::make_unique<Stream>(std::move(*stream));
  }

  DeviceProperties device_;
  std::unique_ptr<Stream> stream_;
};

inline std::vector<float> RandomFloats(int64_t count, uint32_t seed, float spread = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}
inline std::vector<bf16> ToBf16s(const std::vector<float>& values) {
  std::vector<bf16> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) out[i] = ToBf16(values[i]);
  return out;
}
inline std::vector<float> ToFloats(const std::vector<bf16>& values) {
  std::vector<float> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) out[i] = ToFloat(values[i]);
  return out;
}

// A tensor on the device, between two guards that nobody may write to.
template <class T>
class DeviceTensor {
 public:
  static constexpr int64_t kGuardBytes = 256;

  // Filled with 0xff bytes.
  explicit DeviceTensor(int64_t count) : count_(count) {
    auto buffer = DeviceBuffer::Allocate(count * sizeof(T) + 2 * kGuardBytes, "a tensor of a test");
    if (!buffer.ok()) throw std::runtime_error(std::string(buffer.status().message()));
    buffer_ = std::move(*buffer);
    const std::vector<std::byte> poison(buffer_.bytes(), std::byte{0xff});
    Copy(poison);
  }
  explicit DeviceTensor(const std::vector<T>& values)
      : DeviceTensor(static_cast<int64_t>(values.size())) {
    std::vector<std::byte> all(buffer_.bytes(), std::byte{0xff});
    if (count_ > 0) std::memcpy(all.data() + kGuardBytes, values.data(), count_ * sizeof(T));
    Copy(all);
  }

  int64_t size() const { return count_; }
  Global<T> data() const {
    return PointerCast<T>(buffer_.part<std::byte>(kGuardBytes, count_ * sizeof(T)));
  }
  Global<const T> view() const { return data(); }

  // What the tensor holds once `stream` has done its work. Fails the test if that failed, or if a
  // guard was written to.
  std::vector<T> Read(Stream& stream) const {
    EXPECT_EQ(stream.Synchronize(), absl::OkStatus());
    std::vector<std::byte> all(buffer_.bytes());
    stream.CopyToHost(all.data(), buffer_.as<std::byte>(), static_cast<int64_t>(all.size()));
    EXPECT_EQ(stream.Synchronize(), absl::OkStatus());
    const std::vector<std::byte> guard(kGuardBytes, std::byte{0xff});
    EXPECT_EQ(std::memcmp(all.data(), guard.data(), kGuardBytes), 0) << "written before the tensor";
    EXPECT_EQ(std::memcmp(all.data() + all.size() - kGuardBytes, guard.data(), kGuardBytes), 0)
        << "written behind the tensor";
    std::vector<T> values(count_);
    if (count_ > 0) std::memcpy(values.data(), all.data() + kGuardBytes, count_ * sizeof(T));
    return values;
  }

 private:
  void Copy(const std::vector<std::byte>& bytes) {
    Stream stream = Stream::Create().value();
    stream.CopyToDevice(buffer_.as<std::byte>(), bytes.data(), static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(stream.Synchronize(), absl::OkStatus());
  }

  int64_t count_;
  DeviceBuffer buffer_;
};

}  // namespace tandem::TANDEM_GPU
