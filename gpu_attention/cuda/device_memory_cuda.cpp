// The device and its memory: OpenDevice, DeviceBuffer, PinnedBuffer, PinnedRegion.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "gpu_attention/cuda/cuda_call.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::cuda {
namespace {

constexpr int kOldestMajor = 8;  // sm_80: mma with BF16, asynchronous copies

std::atomic<int> chosen_device = 0;

void LogIfFailed(cudaError_t error, const char* what) {
  if (const absl::Status status = ToStatus(error, what); !status.ok()) {
    LogWarning("GPU: {}", std::string(status.message()));
  }
}

}  // namespace

void LoadKernelsAtStart() { setenv("CUDA_MODULE_LOADING", "EAGER", /*overwrite=*/0); }

void UseDevice() {
  thread_local int mine = 0;  // what CUDA gives a thread that has not chosen
  const int chosen = chosen_device.load(std::memory_order_relaxed);
  if (mine != chosen && cudaSetDevice(chosen) == cudaSuccess) mine = chosen;
}

absl::StatusOr<DeviceProperties> OpenDevice(int index) {
  LoadKernelsAtStart();
  int count = 0;
  absl::Status status = ToStatus(cudaGetDeviceCount(&count), "no GPU");
  if (status.ok() && index >= count) {
    status = absl::UnavailableError(absl::StrCat("GPU ", index, " of ", count));
  }
  cudaDeviceProp found;
  if (status.ok()) status = ToStatus(cudaGetDeviceProperties(&found, index), "the GPU");
  if (!status.ok()) return absl::UnavailableError(status.message());
  if (found.major < kOldestMajor) {
    return absl::UnavailableError(absl::StrCat(found.name, " has compute capability ", found.major,
                                               ".", found.minor, ", this build needs ",
                                               kOldestMajor, ".0"));
  }
  chosen_device = index;
  UseDevice();
  DeviceProperties properties;
  size_t free_bytes = 0, total_bytes = 0;
  status = ToStatus(cudaMemGetInfo(&free_bytes, &total_bytes), found.name);
  if (!status.ok()) return absl::UnavailableError(status.message());
  properties.name = found.name;
  properties.multiprocessors = found.multiProcessorCount;
  properties.shared_bytes_per_block = static_cast<int64_t>(found.sharedMemPerBlockOptin);
  properties.memory_bytes = static_cast<int64_t>(total_bytes);
  properties.free_bytes = static_cast<int64_t>(free_bytes);
  properties.compute_major = found.major;
  properties.compute_minor = found.minor;
  return properties;
}

// --------------------------------------------------------------------------------------------

absl::StatusOr<DeviceBuffer> DeviceBuffer::Allocate(size_t bytes, const std::string& what) {
  DeviceBuffer buffer;
  if (bytes == 0) return buffer;
  UseDevice();
  const cudaError_t error = cudaMalloc(reinterpret_cast<void**>(&buffer.data_), bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    return absl::ResourceExhaustedError(absl::StrCat(
        what, " needs ", bytes, " bytes of GPU memory, but ", free_bytes, " are free"));
  }
  TANDEM_RETURN_IF_ERROR(ToStatus(error, what));
  buffer.bytes_ = bytes;
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
  UseDevice();
  LogIfFailed(cudaFree(data_), "freeing memory");
}

absl::StatusOr<PinnedBuffer> PinnedBuffer::Allocate(size_t bytes, const std::string& what) {
  PinnedBuffer buffer;
  if (bytes == 0) return buffer;
  UseDevice();
  const cudaError_t error = cudaHostAlloc(reinterpret_cast<void**>(&buffer.host_), bytes,
                                          cudaHostAllocMapped | cudaHostAllocPortable);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return absl::ResourceExhaustedError(
        absl::StrCat(what, " needs ", bytes, " bytes of page-locked memory"));
  }
  TANDEM_RETURN_IF_ERROR(ToStatus(error, what));
  buffer.bytes_ = bytes;
  TANDEM_RETURN_IF_ERROR(ToStatus(
      cudaHostGetDevicePointer(reinterpret_cast<void**>(&buffer.device_), buffer.host_, 0), what));
  std::memset(buffer.host_, 0, bytes);
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
  UseDevice();
  LogIfFailed(cudaFreeHost(host_), "freeing page-locked memory");
}

absl::StatusOr<PinnedRegion> PinnedRegion::Pin(std::span<const std::byte> memory) {
  PinnedRegion region;
  if (memory.empty()) return region;
  UseDevice();
  void* data = const_cast<std::byte*>(memory.data());
  cudaError_t error = cudaHostRegister(data, memory.size(), cudaHostRegisterPortable);
  if (error != cudaSuccess && error != cudaErrorMemoryAllocation) {  // a read-only mapping, perhaps
    cudaGetLastError();
    error =
        cudaHostRegister(data, memory.size(), cudaHostRegisterPortable | cudaHostRegisterReadOnly);
  }
  const absl::Status status = ToStatus(error, absl::StrCat("locking ", memory.size(), " bytes"));
  if (error == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(status.message());
  if (!status.ok()) return absl::UnimplementedError(status.message());
  region.data_ = memory.data();
  return region;
}
PinnedRegion::PinnedRegion(PinnedRegion&& other) noexcept { *this = std::move(other); }
PinnedRegion& PinnedRegion::operator=(PinnedRegion&& other) noexcept {
  std::swap(data_, other.data_);
  return *this;
}
PinnedRegion::~PinnedRegion() {
  if (data_ == nullptr) return;
  UseDevice();
  LogIfFailed(cudaHostUnregister(const_cast<std::byte*>(data_)), "unlocking memory");
}

}  // namespace tandem::cuda
