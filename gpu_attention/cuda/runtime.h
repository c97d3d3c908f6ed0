// The GPU as the host code sees it: memory, streams, events, graphs. Implemented twice: by the CUDA
// runtime (runtime_cuda.cpp) and by the emulation (gpu_attention/emulation/runtime.cpp).
//
// Work put into a stream never fails at the call: the stream keeps the first error, with the name
// of the kernel or copy it belongs to, and Synchronize() or status() hands it out; what comes after
// an error is left out, but for events. All classes are move-only; destructors log and never throw.
// A stream, and what is done with it, belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "core/status.h"
#include "gpu_attention/cuda/pointers.h"

namespace tandem::TANDEM_GPU {

struct DeviceProperties {
  std::string name;
  int32_t multiprocessors = 0;
  int64_t shared_bytes_per_block = 0;  // most that a kernel may ask for
  int64_t memory_bytes = 0, free_bytes = 0;
  int32_t compute_major = 0, compute_minor = 0;
};

// Makes device `index` the one that everything below works with, for all threads. Errors:
// UNAVAILABLE in the driver's words when there is none or it is too old for this build.
absl::StatusOr<DeviceProperties> OpenDevice(int index = 0);

// Memory on the device, aligned to 256 bytes, not initialised (poisoned under emulation).
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Errors: RESOURCE_EXHAUSTED naming `what`, its size and what is free.
  static absl::StatusOr<DeviceBuffer> Allocate(size_t bytes, const std::string& what);
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer();

  size_t bytes() const { return bytes_; }
  template <class T>
  Global<T> as() const {
    return MakeGlobal(reinterpret_cast<T*>(data_), bytes_ / sizeof(T));
  }
  // `count` elements from element `first` on.
  template <class T>
  Global<T> part(int64_t first, int64_t count) const {
    return MakeGlobal(reinterpret_cast<T*>(data_) + first, count);
  }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Page-locked host memory that both sides see at once, zeroed.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  static absl::StatusOr<PinnedBuffer> Allocate(size_t bytes, const std::string& what);
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;
  ~PinnedBuffer();

  size_t bytes() const { return bytes_; }
  std::byte* data() const { return host_; }
  template <class T>
  T* host() const {
    return reinterpret_cast<T*>(host_);
  }
  // The same bytes as a kernel sees them, `count` elements from byte `offset` on.
  template <class T>
  Global<T> device(size_t offset, int64_t count) const {
    return MakeGlobal(reinterpret_cast<T*>(device_ + offset), count);
  }

 private:
  std::byte* host_ = nullptr;
  std::byte* device_ = nullptr;
  size_t bytes_ = 0;
};

// Page-locks memory that somebody else owns, so that copies from it run beside other work. That
// memory must outlive the object.
class PinnedRegion {
 public:
  PinnedRegion() = default;
  // Errors: RESOURCE_EXHAUSTED (the limit on locked memory), UNIMPLEMENTED (a mapped file that this
  // driver cannot lock); copies from unlocked memory work all the same, only slower.
  static absl::StatusOr<PinnedRegion> Pin(std::span<const std::byte> memory);
  PinnedRegion(PinnedRegion&& other) noexcept;
  PinnedRegion& operator=(PinnedRegion&& other) noexcept;
  ~PinnedRegion();

 private:
  const std::byte* data_ = nullptr;
};

class Stream;

// A moment in a stream.
class Event {
 public:
  static absl::StatusOr<Event> Create();
  Event(Event&&) noexcept;
  Event& operator=(Event&&) noexcept;
  ~Event();

  void Record(Stream& stream);
  bool IsDone() const;
  absl::Status Synchronize() const;
  // Milliseconds on the device's clock. REQUIRES: both were recorded and are done.
  static double ElapsedMs(const Event& begin, const Event& end);

  struct Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  explicit Event(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Work in order.
class Stream {
 public:
  static absl::StatusOr<Stream> Create();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  // What comes after waits until `event`, as last recorded, is done.
  void Wait(const Event& event);
  // Waits for all work; the first error, or OK. An error stays.
  absl::Status Synchronize();
  absl::Status status() const;
  // Keeps `status` if it is the first error.
  void Fail(absl::Status status);

  // Copies and fills are asynchronous; host memory must stay valid and unchanged until they ran.
  // Host memory that is not page-locked makes the call wait.
  template <class T>
  void CopyToDevice(Global<T> to, const T* from, int64_t count);
  template <class T>
  void CopyToHost(T* to, Global<const std::type_identity_t<T>> from, int64_t count);
  template <class T>
  void CopyOnDevice(Global<T> to, Global<const std::type_identity_t<T>> from, int64_t count);
  template <class T>
  void FillZero(Global<T> to, int64_t count);

  struct Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  explicit Stream(std::unique_ptr<Impl> impl);
  void CopyBytes(void* to, const void* from, size_t bytes, const char* what);
  void FillBytes(void* to, size_t bytes);
  std::unique_ptr<Impl> impl_;
};

// Recorded work of one stream, to be launched as a whole. What it reads and writes is fixed when it
// is recorded; the contents are not.
class Graph {
 public:
  // Calls record(stream) once; what that puts into the stream becomes the graph and does not run.
  // Copies from host memory that is not page-locked, events and Synchronize() are not allowed
  // within.
  static absl::StatusOr<Graph> Record(Stream& stream, const std::function<void(Stream&)>& record);
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();

  void Launch(Stream& stream) const;

  struct Impl;

 private:
  explicit Graph(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// ---------------------------------------------------------------------------------------------

template <class T>
void Stream::CopyToDevice(Global<T> to, const T* from, int64_t count) {
  CopyBytes(RawPointer(to, count), from, count * sizeof(T), "copy to the device");
}
template <class T>
void Stream::CopyToHost(T* to, Global<const std::type_identity_t<T>> from, int64_t count) {
  CopyBytes(to, RawPointer(from, count), count * sizeof(T), "copy to the host");
}
template <class T>
void Stream::CopyOnDevice(Global<T> to, Global<const std::type_identity_t<T>> from, int64_t count) {
  CopyBytes(RawPointer(to, count), RawPointer(from, count), count * sizeof(T),
            "copy on the device");
}
template <class T>
void Stream::FillZero(Global<T> to, int64_t count) {
  FillBytes(RawPointer(to, count), count * sizeof(T));
}

}  // namespace tandem::TANDEM_GPU
