// Memory of the emulated GPU: DeviceBuffer, PinnedBuffer, PinnedRegion, OpenDevice.
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/emulation/emulated_device.h"

namespace tandem::emulated {
namespace {

struct Device {
  std::mutex mutex;
  size_t shared_bytes = kMostSharedBytes;
  int64_t budget = int64_t{16} << 30;
  int64_t used = 0;
  std::map<uintptr_t, size_t> known;  // device and page-locked memory: address, bytes
};

Device& TheDevice() {
  static Device device;
  return device;
}

uintptr_t Address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

void Remember(const void* p, size_t bytes) {
  const std::lock_guard lock(TheDevice().mutex);
  TheDevice().known[Address(p)] = bytes;
}
void Forget(const void* p) {
  const std::lock_guard lock(TheDevice().mutex);
  TheDevice().known.erase(Address(p));
}

std::byte* AllocateFilled(size_t bytes, int value) {
  const size_t rounded = (bytes + 255) / 256 * 256;
  auto* data = static_cast<std::byte*>(std::aligned_alloc(256, rounded));
  if (data != nullptr) std::memset(data, value, rounded);
  return data;
}

absl::Status OutOfMemory(const std::string& what, size_t bytes, int64_t free, const char* kind) {
  return absl::ResourceExhaustedError(
      absl::StrCat(what, " needs ", bytes, " bytes of ", kind, ", but ", free, " are free"));
}

}  // namespace

void SetSharedBytesPerBlock(size_t bytes) {
  TANDEM_CHECK(bytes <= kMostSharedBytes, "no GPU has as much shared memory");
  const std::lock_guard lock(TheDevice().mutex);
  TheDevice().shared_bytes = bytes;
}
size_t SharedBytesPerBlock() {
  const std::lock_guard lock(TheDevice().mutex);
  return TheDevice().shared_bytes;
}

void SetMemoryBudget(int64_t bytes) {
  const std::lock_guard lock(TheDevice().mutex);
  TheDevice().budget = bytes;
}

bool IsDeviceOrPinned(const void* address) {
  const std::lock_guard lock(TheDevice().mutex);
  const auto after = TheDevice().known.upper_bound(Address(address));
  if (after == TheDevice().known.begin()) return false;
  const auto& [begin, bytes] = *std::prev(after);
  return Address(address) - begin < bytes;
}

absl::StatusOr<DeviceProperties> OpenDevice(int index) {
  if (index != 0) {
    return absl::UnavailableError(absl::StrCat("there is one emulated GPU, no number ", index));
  }
  const std::lock_guard lock(TheDevice().mutex);
  DeviceProperties properties;
  properties.name = "emulated";
  properties.multiprocessors = 4;
  properties.shared_bytes_per_block = static_cast<int64_t>(TheDevice().shared_bytes);
  properties.memory_bytes = TheDevice().budget;
  properties.free_bytes = TheDevice().budget - TheDevice().used;
  properties.compute_major = 9;
  return properties;
}

// --------------------------------------------------------------------------------------------

absl::StatusOr<DeviceBuffer> DeviceBuffer::Allocate(size_t bytes, const std::string& what) {
  DeviceBuffer buffer;
  if (bytes == 0) return buffer;
  {
    Device& device = TheDevice();
    const std::lock_guard lock(device.mutex);
    const int64_t free = device.budget - device.used;
    if (static_cast<int64_t>(bytes) > free) return OutOfMemory(what, bytes, free, "GPU memory");
    device.used += static_cast<int64_t>(bytes);
  }
  buffer.bytes_ = bytes;
  buffer.data_ = AllocateFilled(bytes, 0xff);
  TANDEM_CHECK(buffer.data_ != nullptr, "this machine has memory for the emulated GPU's");
  Remember(buffer.data_, bytes);
  return buffer;
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
DeviceBuffer::~DeviceBuffer() {
  if (data_ == nullptr) return;
  Forget(data_);
  std::free(data_);
  const std::lock_guard lock(TheDevice().mutex);
  TheDevice().used -= static_cast<int64_t>(bytes_);
}

absl::StatusOr<PinnedBuffer> PinnedBuffer::Allocate(size_t bytes, const std::string& what) {
  PinnedBuffer buffer;
  if (bytes == 0) return buffer;
  buffer.host_ = buffer.device_ = AllocateFilled(bytes, 0);
  if (buffer.host_ == nullptr) return OutOfMemory(what, bytes, 0, "page-locked memory");
  buffer.bytes_ = bytes;
  Remember(buffer.host_, bytes);
  return buffer;
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept { *this = std::move(other); }
PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(host_, other.host_);
  std::swap(device_, other.device_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
PinnedBuffer::~PinnedBuffer() {
  if (host_ == nullptr) return;
  Forget(host_);
  std::free(host_);
}

absl::StatusOr<PinnedRegion> PinnedRegion::Pin(std::span<const std::byte> memory) {
  PinnedRegion region;
  if (memory.empty()) return region;
  Remember(memory.data(), memory.size());
  region.data_ = memory.data();
  return region;
}
PinnedRegion::PinnedRegion(PinnedRegion&& other) noexcept { *this = std::move(other); }
PinnedRegion& PinnedRegion::operator=(PinnedRegion&& other) noexcept {
  std::swap(data_, other.data_);
  return *this;
}
PinnedRegion::~PinnedRegion() {
  if (data_ != nullptr) Forget(data_);
}

}  // namespace tandem::emulated
