// Owned memory: anonymous huge-page memory bound to a NUMA node, and read-only mapped files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/ids.h"
#include "core/status.h"

namespace tandem {

// Page-aligned zeroed memory on transparent huge pages where the kernel grants them.
// Move-only. Not thread-safe; the bytes may be shared between threads.
class NumaBuffer {
 public:
  NumaBuffer() = default;
  // Errors: RESOURCE_EXHAUSTED naming the size when the system refuses. `node` is a wish where the
  // machine has several nodes and is ignored where it has one.
  static absl::StatusOr<NumaBuffer> Allocate(size_t size_bytes, NumaNode node = {});
  NumaBuffer(NumaBuffer&& other) noexcept;
  NumaBuffer& operator=(NumaBuffer&& other) noexcept;
  ~NumaBuffer();

  std::byte* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// A whole file mapped read-only. Move-only.
class MappedFile {
 public:
  MappedFile() = default;
  // Errors: NOT_FOUND / PERMISSION_DENIED / ... naming the path.
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  const std::string& path() const { return path_; }
  // Tells the kernel that these bytes will be read soon (true) or not again (false), which takes
  // them out of this process's resident set; they stay valid and in the page cache.
  void Advise(std::span<const std::byte> part, bool will_need) const;
  // Reads `part` from disk if need be and enters its pages into this process's page tables, so that
  // no access faults later. Slower accesses are all that a failure costs.
  void Populate(std::span<const std::byte> part) const;
  // Share of the file that is in the page cache, from a few samples.
  double CachedFraction() const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
  std::string path_;
};

// Gives anonymous pages back to the system; they read as zeros and cost nothing until written.
// REQUIRES: whole pages of 4 KiB.
void DiscardPages(std::span<std::byte> pages);

// Bytes of this process in RAM now, and the most there ever were (from /proc/self/status).
struct ResidentMemory {
  int64_t now_bytes = 0;
  int64_t peak_bytes = 0;
};
ResidentMemory ReadResidentMemory();

// Anonymous memory of this process on huge pages (from /proc/self/smaps_rollup); 0 if the system
// does not say.
int64_t ReadHugePageBytes();

}  // namespace tandem
