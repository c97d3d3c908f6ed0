#include "service/batch/whole_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/output_file.h"

namespace tandem {

absl::StatusOr<int> OpenRegular(const std::string& path, int flags) {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  const int fd = open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd < 0)
    return absl::ErrnoToStatus(errno,
                               absl::StrCat(writes ? "cannot write " : "cannot read ", path));
  struct stat info;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) return fd;
  close(fd);
  return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
}

absl::StatusOr<size_t> ReadUpTo(int fd, const std::string& path, int64_t offset,
                                std::span<char> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        pread(fd, bytes.data() + done, bytes.size() - done, offset + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

absl::Status WriteAll(int fd, const std::string& path, int64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return WriteError(n == 0 ? ENOSPC : errno, path);
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status WriteError(int error, const std::string& path) {
  const std::string what = absl::StrCat("cannot write ", path);
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return absl::ResourceExhaustedError(absl::StrCat(
        what,
        ": the disk is full, or the file may not grow; what is done is kept: make room and "
        "run it again"));
  }
  return absl::ErrnoToStatus(error, what);
}

absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return SyncFolder(folder.empty() ? "." : folder);
}

}  // namespace tandem
