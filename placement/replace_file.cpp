#include "placement/replace_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

absl::Status WriteAll(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr)
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot be written: ", std::strerror(errno)));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size() &&
                       std::fflush(file) == 0 && fsync(fileno(file)) == 0;
  const int error = errno;
  if (std::fclose(file) == 0 && written) return absl::OkStatus();
  std::remove(path.c_str());
  return absl::UnavailableError(absl::StrCat(path, ": writing failed: ", std::strerror(error)));
}

}  // namespace

absl::Status ReplaceFile(const std::string& path, const std::string& bytes) {
  const std::string unfinished = absl::StrCat(path, ".", getpid(), ".part");
  TANDEM_RETURN_IF_ERROR(WriteAll(unfinished, bytes));
  if (std::rename(unfinished.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  std::remove(unfinished.c_str());
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written: ", std::strerror(error)));
}

}  // namespace tandem
