// A file that appears under its name only when it is complete: written as NAME.part, brought to the
// disk, then renamed. What a killed program leaves is a .part file, which the next run may take up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/status.h"

namespace tandem {

// Move-only. WriteAt() and ReadAt() are thread-safe. Errors name the file and the system's reason;
// RESOURCE_EXHAUSTED for a full disk.
class OutputFile {
 public:
  OutputFile() = default;
  // Opens PATH.part, keeping what is in it, and asks the system for `size_bytes` at once, so that a
  // full disk shows now and not after an hour.
  static absl::StatusOr<OutputFile> Open(const std::string& path, int64_t size_bytes);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();  // without Finish(): the .part file stays

  const std::string& path() const { return path_; }  // the final one
  bool is_new() const { return is_new_; }            // there was no .part file of this size
  absl::Status WriteAt(int64_t offset, std::span<const std::byte> bytes) const;
  absl::Status ReadAt(int64_t offset, std::span<std::byte> bytes) const;
  // To the disk and to the final name.
  absl::Status Finish();

 private:
  std::string path_;
  int fd_ = -1;
  bool is_new_ = true;
};

// A small file at once, the same way.
absl::Status WriteWholeFile(const std::string& path, std::span<const std::byte> bytes);

// "NAME.part"
std::string PartName(const std::string& path);

// Makes renames in a folder survive a power cut.
absl::Status SyncFolder(const std::string& dir);

}  // namespace tandem
