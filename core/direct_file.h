// A file read at given places, past the page cache (O_DIRECT) where the file system takes it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/status.h"

namespace tandem {

// Move-only; ReadAt() is thread-safe.
class DirectFile {
 public:
  // `direct` false, or a file system that refuses: reads go through the page cache. Errors name the
  // path.
  static absl::StatusOr<DirectFile> Open(const std::string& path, bool direct);
  DirectFile(DirectFile&& other) noexcept;
  DirectFile& operator=(DirectFile&& other) = delete;
  ~DirectFile();

  bool is_direct() const { return direct_fd_ >= 0; }
  // Past the cache if offset, size and address are multiples of 4 KiB, else through it. Error:
  // DATA_LOSS when the file ends before.
  absl::Status ReadAt(int64_t offset, std::span<std::byte> to) const;

 private:
  DirectFile() = default;

  std::string path_;
  int fd_ = -1;
  int direct_fd_ = -1;
};

}  // namespace tandem
