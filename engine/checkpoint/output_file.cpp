#include "engine/checkpoint/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/progress.h"

namespace tandem {
namespace {

constexpr size_t kMostPerCall = size_t{1} << 30;  // the system moves no more than 2 GiB

absl::Status SystemError(int error, const std::string& what) {
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(absl::StrCat(
        what, ": the disk is full; what is finished is kept: make room and run it again"));
  }
  return absl::ErrnoToStatus(error, what);
}

// Space for the whole file. File systems that cannot reserve just grow the file.
absl::Status Reserve(int fd, const std::string& part, int64_t size_bytes) {
  if (size_bytes == 0 || fallocate(fd, 0, 0, size_bytes) == 0) return absl::OkStatus();
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
    return SystemError(errno, absl::StrCat("cannot write ", part, " of ", BytesText(size_bytes)));
  if (ftruncate(fd, size_bytes) == 0) return absl::OkStatus();
  return SystemError(errno, absl::StrCat("cannot write ", part));
}

}  // namespace

std::string PartName(const std::string& path) { return path + ".part"; }

absl::StatusOr<OutputFile> OutputFile::Open(const std::string& path, int64_t size_bytes) {
  const std::string part = PartName(path);
  OutputFile file;
  file.path_ = path;
  file.fd_ = open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file.fd_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", part));
  struct stat info;
  if (fstat(file.fd_, &info) != 0 || !S_ISREG(info.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(part, " is not a regular file"));
  file.is_new_ = info.st_size != size_bytes;
  if (file.is_new_ && ftruncate(file.fd_, 0) != 0)
    return SystemError(errno, absl::StrCat("cannot write ", part));
  TANDEM_RETURN_IF_ERROR(Reserve(file.fd_, part, size_bytes));
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), is_new_(other.is_new_) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(is_new_, other.is_new_);
  return *this;
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status OutputFile::WriteAt(int64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd_, bytes.data(), std::min(bytes.size(), kMostPerCall), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return SystemError(n == 0 ? ENOSPC : errno, absl::StrCat("cannot write ", PartName(path_)));
    bytes = bytes.subspan(n);
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status OutputFile::ReadAt(int64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = pread(fd_, bytes.data(), std::min(bytes.size(), kMostPerCall), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return absl::ErrnoToStatus(n == 0 ? EIO : errno, "cannot read back " + PartName(path_));
    bytes = bytes.subspan(n);
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status OutputFile::Finish() {
  if (fsync(fd_) != 0) return SystemError(errno, absl::StrCat("cannot write ", PartName(path_)));
  const int fd = std::exchange(fd_, -1);
  if (close(fd) != 0) return SystemError(errno, absl::StrCat("cannot write ", PartName(path_)));
  if (std::rename(PartName(path_).c_str(), path_.c_str()) != 0)
    return SystemError(errno, absl::StrCat("cannot rename ", PartName(path_), " to ", path_));
  return absl::OkStatus();
}

absl::Status WriteWholeFile(const std::string& path, std::span<const std::byte> bytes) {
  TANDEM_ASSIGN_OR_RETURN(OutputFile file,
                          OutputFile::Open(path, static_cast<int64_t>(bytes.size())));
  TANDEM_RETURN_IF_ERROR(file.WriteAt(0, bytes));
  return file.Finish();
}

absl::Status SyncFolder(const std::string& dir) {
  const int fd = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", dir));
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  // Some network file systems cannot sync a folder: nothing more can be done there.
  if (error == 0 || error == EINVAL) return absl::OkStatus();
  return SystemError(error, absl::StrCat("cannot write ", dir));
}

}  // namespace tandem
