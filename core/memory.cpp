#include "core/memory.h"

#include <fcntl.h>
#include <numa.h>
#include <numaif.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kHugePageBytes = 2u << 20;

void BindToNode(void* data, size_t size_bytes, NumaNode node) {
  if (node.value < 0 || numa_available() < 0 || numa_max_node() == 0) return;
  unsigned long mask[16] = {};
  mask[node.value / 64] = 1ul << (node.value % 64);
  mbind(data, size_bytes, MPOL_BIND, mask, sizeof(mask) * 8, 0);
}

int64_t FieldKib(const std::string& line, const char* name) {
  if (line.rfind(name, 0) != 0) return -1;
  return std::strtoll(line.c_str() + std::strlen(name), nullptr, 10);
}

}  // namespace

absl::StatusOr<NumaBuffer> NumaBuffer::Allocate(size_t size_bytes, NumaNode node) {
  NumaBuffer buffer;
  if (size_bytes == 0) return buffer;
  const size_t unit = size_bytes >= kHugePageBytes ? kHugePageBytes : kPageBytes;
  const size_t rounded = (size_bytes + unit - 1) / unit * unit;
  // Over-map by one huge page so that the start can be aligned to it.
  const size_t slack = unit == kHugePageBytes ? kHugePageBytes : 0;
  void* raw = mmap(nullptr, rounded + slack, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot get ", size_bytes, " bytes of memory: ", std::strerror(errno)));
  }
  auto* start = static_cast<std::byte*>(raw);
  auto* aligned =
      reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(start) + unit - 1) / unit * unit);
  if (slack != 0) {
    if (aligned != start) munmap(start, aligned - start);
    const size_t tail = slack - (aligned - start);
    if (tail != 0) munmap(aligned + rounded, tail);
    madvise(aligned, rounded, MADV_HUGEPAGE);
  }
  BindToNode(aligned, rounded, node);
  buffer.data_ = aligned;
  buffer.size_bytes_ = rounded;
  return buffer;
}

NumaBuffer::NumaBuffer(NumaBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

NumaBuffer& NumaBuffer::operator=(NumaBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

NumaBuffer::~NumaBuffer() {
  if (data_ != nullptr) munmap(data_, size_bytes_);
}

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  MappedFile file;
  file.path_ = path;
  file.size_bytes_ = static_cast<size_t>(info.st_size);
  if (file.size_bytes_ > 0) {
    void* data = mmap(nullptr, file.size_bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const int error = errno;
      close(fd);
      file.size_bytes_ = 0;
      return absl::ErrnoToStatus(error, absl::StrCat("cannot map ", path));
    }
    file.data_ = static_cast<const std::byte*>(data);
  }
  close(fd);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_bytes_);
}

void MappedFile::Advise(std::span<const std::byte> part, bool will_need) const {
  if (part.empty()) return;
  auto begin = reinterpret_cast<uintptr_t>(part.data());
  auto end = begin + part.size();
  // Dropping must not touch neighbours' pages; prefetching may.
  begin = will_need ? begin / kPageBytes * kPageBytes
                    : (begin + kPageBytes - 1) / kPageBytes * kPageBytes;
  end = end / kPageBytes * kPageBytes;
  if (begin >= end) return;
  madvise(reinterpret_cast<void*>(begin), end - begin, will_need ? MADV_WILLNEED : MADV_DONTNEED);
}

void MappedFile::Populate(std::span<const std::byte> part) const {
  if (part.empty()) return;
  const auto begin = reinterpret_cast<uintptr_t>(part.data()) / kPageBytes * kPageBytes;
  const auto end = reinterpret_cast<uintptr_t>(part.data()) + part.size();
#ifdef MADV_POPULATE_READ
  if (madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ) == 0) return;
#endif
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);  // before Linux 5.14
}

double MappedFile::CachedFraction() const {
  constexpr size_t kSamples = 256;
  if (size_bytes_ == 0) return 1;
  const size_t pages = (size_bytes_ + kPageBytes - 1) / kPageBytes;
  const size_t step = std::max<size_t>(1, pages / kSamples);
  size_t samples = 0, cached = 0;
  for (size_t page = 0; page < pages; page += step, ++samples) {
    unsigned char in_core = 0;
    mincore(const_cast<std::byte*>(data_) + page * kPageBytes, kPageBytes, &in_core);
    cached += in_core & 1;
  }
  return static_cast<double>(cached) / static_cast<double>(samples);
}

void DiscardPages(std::span<std::byte> pages) {
  if (!pages.empty()) madvise(pages.data(), pages.size(), MADV_DONTNEED);
}

ResidentMemory ReadResidentMemory() {
  ResidentMemory memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (int64_t kib = FieldKib(line, "VmRSS:"); kib >= 0) memory.now_bytes = kib * 1024;
    if (int64_t kib = FieldKib(line, "VmHWM:"); kib >= 0) memory.peak_bytes = kib * 1024;
  }
  return memory;
}

int64_t ReadHugePageBytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);)
    if (const int64_t kib = FieldKib(line, "AnonHugePages:"); kib >= 0) return kib * 1024;
  return 0;
}

}  // namespace tandem
