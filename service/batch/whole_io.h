// Reads and writes that go on until all is done, and errors of files that say what to do.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace tandem {

// A file descriptor of a regular file. INVALID_ARGUMENT for folders, pipes, devices.
absl::StatusOr<int> OpenRegular(const std::string& path, int flags);

// How many bytes there were; fewer than asked for only at the file's end.
absl::StatusOr<size_t> ReadUpTo(int fd, const std::string& path, int64_t offset,
                                std::span<char> bytes);

// RESOURCE_EXHAUSTED if there is no room.
absl::Status WriteAll(int fd, const std::string& path, int64_t offset, std::string_view bytes);

// "cannot write PATH: ..."; for ENOSPC and the like RESOURCE_EXHAUSTED and what to do.
absl::Status WriteError(int error, const std::string& path);

// Makes files that were made or renamed beside `path` survive a power cut.
absl::Status SyncFolderOf(const std::string& path);

}  // namespace tandem
