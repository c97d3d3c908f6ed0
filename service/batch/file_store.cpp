#include "service/batch/file_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "service/api/random_id.h"
#include "service/batch/whole_io.h"
#include "service/http/http_error.h"

namespace tandem {
namespace {

constexpr size_t kMaxNameBytes = 255;
constexpr int kIdLength = 24;
constexpr int64_t kMinExpiryS = 3600;
constexpr int64_t kReserveStepBytes = 8 << 20;
constexpr size_t kPieceBytes = 256 << 10;

absl::Status NotKept(const std::string& id) {
  return absl::NotFoundError(absl::StrCat(
      "no file of the id \"", absl::Utf8SafeCHexEscape(id.substr(0, 64)), "\" is kept here"));
}

class UploadImpl final : public Upload {
 public:
  UploadImpl(BatchDatabase& database, const BatchLimits& limits, std::string path, FileRecord file)
      : database_(database), limits_(limits), path_(std::move(path)), file_(std::move(file)) {}
  ~UploadImpl() override {
    if (fd_ >= 0) close(fd_);
    if (finished_) return;
    unlink(path_.c_str());
    database_.RemoveFile(file_.id).IgnoreError();
  }

  absl::Status Open() {
    TANDEM_RETURN_IF_ERROR(Reserve(0));
    TANDEM_ASSIGN_OR_RETURN(fd_, OpenRegular(path_, O_WRONLY | O_CREAT | O_EXCL));
    return absl::OkStatus();
  }
  absl::Status Append(std::string_view bytes) override {
    const int64_t after = written_ + std::ssize(bytes);
    if (after > limits_.max_file_bytes) {
      return HttpError(413,
                       absl::StrCat("the file has more than ", limits_.max_file_bytes, " bytes"));
    }
    if (after > file_.bytes) TANDEM_RETURN_IF_ERROR(Reserve(after));
    TANDEM_RETURN_IF_ERROR(WriteAll(fd_, path_, written_, bytes));
    written_ = after;
    return absl::OkStatus();
  }
  absl::StatusOr<FileRecord> Finish() override {
    if (fdatasync(fd_) != 0) return WriteError(errno, path_);
    TANDEM_RETURN_IF_ERROR(SyncFolderOf(path_));
    file_.bytes = written_;
    TANDEM_RETURN_IF_ERROR(database_.SetReady(file_));
    finished_ = true;
    return file_;
  }

 private:
  // In steps, so that a file that comes in small pieces asks the database seldom.
  absl::Status Reserve(int64_t bytes) {
    file_.bytes = bytes == 0 ? 0 : std::max(bytes, written_ + kReserveStepBytes);
    absl::Status reserved = database_.ReserveFile(file_, limits_);
    if (!reserved.ok() && file_.bytes > bytes) {
      file_.bytes = bytes;
      reserved = database_.ReserveFile(file_, limits_);
    }
    return reserved;
  }

  BatchDatabase& database_;
  const BatchLimits& limits_;
  const std::string path_;
  FileRecord file_;  // its bytes: reserved
  int fd_ = -1;
  int64_t written_ = 0;
  bool finished_ = false;
};

class FilePieces final : public BodyPieces {
 public:
  FilePieces(std::string path, int64_t bytes, int fd)
      : path_(std::move(path)), bytes_(bytes), fd_(fd) {}
  ~FilePieces() override { close(fd_); }
  int64_t bytes() const override { return bytes_; }
  absl::StatusOr<std::string> Next() override {
    std::string piece(std::min<int64_t>(kPieceBytes, bytes_ - offset_), '\0');
    TANDEM_ASSIGN_OR_RETURN(const size_t n, ReadUpTo(fd_, path_, offset_, std::span(piece)));
    if (n < piece.size()) return absl::DataLossError(absl::StrCat(path_, " ends too early"));
    offset_ += static_cast<int64_t>(n);
    return piece;
  }

 private:
  const std::string path_;
  const int64_t bytes_;
  const int fd_;
  int64_t offset_ = 0;
};

}  // namespace

FileStore::FileStore(BatchDatabase& database, std::string folder, const BatchLimits& limits)
    : database_(database), folder_(std::move(folder)), limits_(limits) {
  RemoveStrangers();
}

std::string FileStore::PathOf(const std::string& id) const {
  return absl::StrCat(folder_, "/", id);
}

// What an upload or a deletion left that a crash cut off.
void FileStore::RemoveStrangers() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const auto known = database_.FindFile(entry.path().filename().string());
    if (known.ok() && !*known) std::filesystem::remove(entry.path(), error);
  }
  database_.RemoveUnready().IgnoreError();
}

absl::StatusOr<std::unique_ptr<Upload>> FileStore::Begin(const NewFile& file) {
  if (file.purpose != "batch") {
    return absl::InvalidArgumentError(
        absl::StrCat("purpose is \"", absl::Utf8SafeCHexEscape(file.purpose.substr(0, 64)),
                     "\"; expected \"batch\""));
  }
  if (file.name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat("file has a name of ", file.name.size(),
                                                   " bytes; expected at most ", kMaxNameBytes));
  }
  if (file.expires_after_s != 0 && file.expires_after_s < kMinExpiryS) {
    return absl::InvalidArgumentError(absl::StrCat("expires_after[seconds] is ",
                                                   file.expires_after_s, "; expected ", kMinExpiryS,
                                                   " or more"));
  }
  FileRecord record = {.id = absl::StrCat("file-", RandomId(kIdLength)),
                       .owner = file.owner,
                       .name = file.name.empty() ? "batch.jsonl" : file.name,
                       .purpose = file.purpose,
                       .created_s = NowSeconds()};
  const int64_t keep_s =
      file.expires_after_s == 0 ? limits_.keep_s : std::min(file.expires_after_s, limits_.keep_s);
  record.expires_s = record.created_s + keep_s;
  const std::string path = PathOf(record.id);
  auto upload = std::make_unique<UploadImpl>(database_, limits_, path, std::move(record));
  TANDEM_RETURN_IF_ERROR(upload->Open());
  return upload;
}

absl::StatusOr<FileRecord> FileStore::Add(const NewFile& file, std::string_view content) {
  TANDEM_ASSIGN_OR_RETURN(const auto upload, Begin(file));
  TANDEM_RETURN_IF_ERROR(upload->Append(content));
  return upload->Finish();
}

absl::StatusOr<FileRecord> FileStore::Find(const std::string& owner, const std::string& id) {
  TANDEM_ASSIGN_OR_RETURN(auto file, database_.FindFile(id));
  if (!file || file->owner != owner) return NotKept(id);
  return *std::move(file);
}

absl::StatusOr<Page<FileRecord>> FileStore::List(const std::string& owner,
                                                 const std::string& purpose, const PageArgs& page) {
  return database_.ListFiles(owner, purpose, page);
}

absl::Status FileStore::Remove(const std::string& id) {
  TANDEM_RETURN_IF_ERROR(database_.RemoveFile(id));
  unlink(PathOf(id).c_str());
  return absl::OkStatus();
}

absl::Status FileStore::Delete(const std::string& owner, const std::string& id) {
  TANDEM_RETURN_IF_ERROR(Find(owner, id).status());
  TANDEM_ASSIGN_OR_RETURN(const auto batch, database_.OpenBatchOfFile(id));
  if (batch) {
    return HttpError(409, absl::StrCat("the file is the input of ", *batch,
                                       ", which has not ended; cancel that first"));
  }
  return Remove(id);
}

absl::StatusOr<std::shared_ptr<BodyPieces>> FileStore::Content(const std::string& owner,
                                                               const std::string& id) {
  TANDEM_ASSIGN_OR_RETURN(const FileRecord file, Find(owner, id));
  const std::string path = PathOf(id);
  const auto fd = OpenRegular(path, O_RDONLY);
  if (absl::IsNotFound(fd.status())) return NotKept(id);  // removed meanwhile
  if (!fd.ok()) return absl::InternalError(std::string(fd.status().message()));
  return std::make_shared<FilePieces>(path, file.bytes, *fd);
}

absl::Status FileStore::RemoveExpired(int64_t now_s) {
  TANDEM_ASSIGN_OR_RETURN(const auto files, database_.ExpiredFiles(now_s));
  for (const FileRecord& file : files) TANDEM_RETURN_IF_ERROR(Remove(file.id));
  return absl::OkStatus();
}

}  // namespace tandem
