#include "service/batch/job_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/batch/job_scan.h"
#include "service/batch/line_hash.h"
#include "service/batch/whole_io.h"

namespace tandem {

absl::StatusOr<JobFile> JobFile::Scan(const JobFileOptions& options, const Limits& limits) {
  JobFile file;
  file.path_ = options.path;
  TANDEM_ASSIGN_OR_RETURN(file.fd_, OpenRegular(options.path, O_RDONLY));
  JobScan scan(options, limits, file.items_);
  std::vector<char> block(1 << 20);
  FingerprintSum fingerprint;
  for (;;) {
    TANDEM_ASSIGN_OR_RETURN(const size_t n, ReadUpTo(file.fd_, options.path, file.bytes_,
                                                     std::span(block.data(), block.size())));
    if (n == 0) break;
    fingerprint.Add({block.data(), n});
    scan.Feed({block.data(), n});
    file.bytes_ += static_cast<int64_t>(n);
  }
  scan.Finish();
  file.all_items_ = scan.all_items();
  file.fingerprint_ = fingerprint.ToHex();
  if (file.all_items_ == 0)
    return absl::InvalidArgumentError(absl::StrCat(options.path, " has no request"));
  return file;
}

absl::StatusOr<std::string> JobFile::Read(const JobItem& item) const {
  std::string text(item.bytes, '\0');
  TANDEM_ASSIGN_OR_RETURN(const size_t n, ReadUpTo(fd_, path_, item.offset, std::span(text)));
  if (n < text.size() || LineHash(text) != item.hash) {
    return absl::FailedPreconditionError(absl::StrCat(
        path_, ": line ", item.line, " has changed while the batch was running; what is done is ",
        "kept, but only the input as it was can be continued"));
  }
  return text;
}

JobFile::JobFile(JobFile&& other) noexcept { *this = std::move(other); }

JobFile& JobFile::operator=(JobFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(items_, other.items_);
  std::swap(all_items_, other.all_items_);
  std::swap(bytes_, other.bytes_);
  std::swap(fingerprint_, other.fingerprint_);
  return *this;
}

JobFile::~JobFile() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace tandem
