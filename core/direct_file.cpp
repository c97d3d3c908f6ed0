#include "core/direct_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr uint64_t kUnit = 4096;
constexpr size_t kMostPerCall = size_t{1} << 30;  // the system moves no more than 2 GiB

bool IsAligned(int64_t offset, std::span<std::byte> to) {
  return (static_cast<uint64_t>(offset) | to.size() | reinterpret_cast<uintptr_t>(to.data())) %
             kUnit ==
         0;
}

}  // namespace

absl::StatusOr<DirectFile> DirectFile::Open(const std::string& path, bool direct) {
  DirectFile file;
  file.path_ = path;
  file.fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  if (direct) file.direct_fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  return file;
}

DirectFile::DirectFile(DirectFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      direct_fd_(std::exchange(other.direct_fd_, -1)) {}

DirectFile::~DirectFile() {
  if (fd_ >= 0) close(fd_);
  if (direct_fd_ >= 0) close(direct_fd_);
}

absl::Status DirectFile::ReadAt(int64_t offset, std::span<std::byte> to) const {
  bool direct = direct_fd_ >= 0;
  while (!to.empty()) {
    direct = direct && IsAligned(offset, to);  // no longer after a short read
    const ssize_t n =
        pread(direct ? direct_fd_ : fd_, to.data(), std::min(to.size(), kMostPerCall), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && direct) {  // opened, but not for this device
      direct = false;
      continue;
    }
    if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path_));
    if (n == 0)
      return absl::DataLossError(absl::StrCat(path_, " ends at byte ", offset, ", expected ",
                                              to.size(), " more; it was cut while being read"));
    to = to.subspan(n);
    offset += n;
  }
  return absl::OkStatus();
}

}  // namespace tandem
