#include "service/batch/batch_results.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/batch/journal.h"
#include "service/batch/whole_io.h"

namespace tandem {
namespace {

constexpr size_t kBlockBytes = 1 << 20;

// A file of lines, written in large blocks.
class LineFile {
 public:
  explicit LineFile(std::string path) : path_(std::move(path)) {}
  ~LineFile() {
    if (fd_ >= 0) close(fd_);
  }
  absl::Status Add(const std::string& line) {
    block_ += line;
    return block_.size() < kBlockBytes ? absl::OkStatus() : Write();
  }
  absl::Status Finish() {
    TANDEM_RETURN_IF_ERROR(Write());
    if (fsync(fd_) != 0) return WriteError(errno, path_);
    return SyncFolderOf(path_);
  }

 private:
  absl::Status Write() {
    if (fd_ < 0) {
      TANDEM_ASSIGN_OR_RETURN(fd_, OpenRegular(path_, O_WRONLY | O_CREAT | O_TRUNC));
    }
    TANDEM_RETURN_IF_ERROR(WriteAll(fd_, path_, written_, block_));
    written_ += std::ssize(block_);
    block_.clear();
    return absl::OkStatus();
  }

  const std::string path_;
  int fd_ = -1;
  int64_t written_ = 0;
  std::string block_;
};

absl::StatusOr<PartedResults> Count(const Journal& journal) {
  PartedResults counts;
  TANDEM_RETURN_IF_ERROR(journal.ForEach(Journal::By::kOffset, [&](const DoneItem& item) {
    ++(item.code.empty() ? counts.answers : counts.errors);
    (item.code.empty() ? counts.answer_bytes : counts.error_bytes) += item.bytes;
    return absl::OkStatus();
  }));
  return counts;
}

// A second name for a file that is wanted whole costs no room. False: it has to be copied.
bool Linked(const std::string& from, const std::string& to, int64_t bytes) {
  struct stat info;
  if (stat(from.c_str(), &info) != 0 || info.st_size != bytes) return false;
  unlink(to.c_str());  // of an earlier try
  return link(from.c_str(), to.c_str()) == 0 && SyncFolderOf(to).ok();
}

absl::Status Copy(const Journal& journal, const std::string& from, LineFile& answers,
                  LineFile& errors) {
  TANDEM_ASSIGN_OR_RETURN(const int fd, OpenRegular(from, O_RDONLY));
  std::string line;
  const absl::Status copied =
      journal.ForEach(Journal::By::kOffset, [&](const DoneItem& item) -> absl::Status {
        line.resize(item.bytes);
        TANDEM_ASSIGN_OR_RETURN(const size_t n, ReadUpTo(fd, from, item.offset, std::span(line)));
        if (n < line.size()) return absl::DataLossError(absl::StrCat(from, " ends too early"));
        return (item.code.empty() ? answers : errors).Add(line);
      });
  close(fd);
  return copied;
}

}  // namespace

absl::StatusOr<PartedResults> PartResults(const std::string& results_path,
                                          const std::string& answers_path,
                                          const std::string& errors_path) {
  TANDEM_ASSIGN_OR_RETURN(const auto journal, Journal::OpenExisting(JournalPath(results_path)));
  TANDEM_ASSIGN_OR_RETURN(const PartedResults counts, Count(*journal));
  if (counts.answers + counts.errors == 0) return counts;
  if (counts.errors == 0 && Linked(results_path, answers_path, counts.answer_bytes)) return counts;
  if (counts.answers == 0 && Linked(results_path, errors_path, counts.error_bytes)) return counts;
  LineFile answers(answers_path), errors(errors_path);
  TANDEM_RETURN_IF_ERROR(Copy(*journal, results_path, answers, errors));
  if (counts.answers > 0) TANDEM_RETURN_IF_ERROR(answers.Finish());
  if (counts.errors > 0) TANDEM_RETURN_IF_ERROR(errors.Finish());
  return counts;
}

ResultReader::~ResultReader() {
  if (fd_ >= 0) close(fd_);
}

// False: there is no whole line any more.
absl::StatusOr<bool> ResultReader::ReadLine(std::string* line) {
  if (fd_ < 0) {
    const auto fd = OpenRegular(path_, O_RDONLY);
    if (absl::IsNotFound(fd.status())) return false;
    if (!fd.ok()) return fd.status();
    fd_ = *fd;
  }
  size_t looked_at = taken_;
  for (;;) {
    const size_t end = block_.find('\n', looked_at);
    if (end != block_.npos) {
      if (line != nullptr) line->assign(block_, taken_, end + 1 - taken_);
      taken_ = end + 1;
      ++line_;
      return true;
    }
    block_.erase(0, std::exchange(taken_, 0));
    looked_at = block_.size();
    block_.resize(looked_at + kBlockBytes);
    const auto read = ReadUpTo(fd_, path_, offset_, std::span(block_).subspan(looked_at));
    block_.resize(looked_at + read.value_or(0));
    TANDEM_RETURN_IF_ERROR(read.status());
    offset_ += static_cast<int64_t>(*read);
    if (*read == 0) return false;
  }
}

absl::Status ResultReader::SkipTo(int64_t line) {
  while (line_ < line) {
    TANDEM_ASSIGN_OR_RETURN(const bool more, ReadLine(nullptr));
    if (!more) break;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ResultReader::Read(int64_t end, int64_t bytes) {
  std::vector<std::string> lines;
  int64_t had = 0;
  while (line_ < end && had < bytes) {
    std::string line;
    TANDEM_ASSIGN_OR_RETURN(const bool more, ReadLine(&line));
    if (!more) break;
    had += std::ssize(line);
    lines.push_back(std::move(line));
  }
  // What lies behind may be another text when it is asked for.
  offset_ -= static_cast<int64_t>(block_.size() - taken_);
  taken_ = 0;
  block_.clear();
  return lines;
}

}  // namespace tandem
