#include "service/batch/ordered_copy.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/output_file.h"
#include "service/batch/line_hash.h"
#include "service/batch/whole_io.h"

namespace tandem {
namespace {

constexpr size_t kBlockBytes = 1 << 20;

// A source's results, one after another by item.
class Reader {
 public:
  explicit Reader(const ResultSource& source)
      : source_(source), items_(*source.journal, Journal::By::kItem) {}
  ~Reader() {
    if (fd_ >= 0) close(fd_);
  }

  absl::Status Open() {
    TANDEM_ASSIGN_OR_RETURN(fd_, OpenRegular(source_.path, O_RDONLY));
    return Advance();
  }
  const std::optional<DoneItem>& next() const { return next_; }

  absl::Status Take(std::string& text) {
    const int64_t offset = source_.in_order ? position_ : next_->offset;
    position_ += next_->bytes;
    text.resize(next_->bytes);
    TANDEM_ASSIGN_OR_RETURN(const size_t n, ReadUpTo(fd_, source_.path, offset, std::span(text)));
    if (n < text.size() || LineHash(text) != next_->checksum) {
      return absl::DataLossError(absl::StrCat(source_.path, " was changed: byte ", offset,
                                              " does not begin the result that its journal says"));
    }
    return Advance();
  }

 private:
  absl::Status Advance() {
    TANDEM_ASSIGN_OR_RETURN(next_, items_.Next());
    return absl::OkStatus();
  }

  const ResultSource source_;
  Journal::Cursor items_;
  int fd_ = -1;
  std::optional<DoneItem> next_;
  int64_t position_ = 0;
};

Reader* FirstOf(std::vector<std::unique_ptr<Reader>>& readers) {
  Reader* first = nullptr;
  for (const auto& reader : readers) {
    if (!reader->next()) continue;
    if (first == nullptr || reader->next()->item < first->next()->item) first = reader.get();
  }
  return first;
}

absl::Status Copy(std::vector<std::unique_ptr<Reader>>& readers, int fd, const std::string& part,
                  const std::function<absl::Status(const DoneItem&)>& see) {
  std::string block, line;
  int64_t written = 0;
  for (;;) {
    Reader* first = FirstOf(readers);
    if (first != nullptr) {
      const DoneItem item = *first->next();
      TANDEM_RETURN_IF_ERROR(see(item));
      TANDEM_RETURN_IF_ERROR(first->Take(line));
      block += line;
    }
    if (block.size() < kBlockBytes && first != nullptr) continue;
    TANDEM_RETURN_IF_ERROR(WriteAll(fd, part, written, block));
    written += static_cast<int64_t>(block.size());
    block.clear();
    if (first == nullptr) break;
  }
  return fsync(fd) == 0 ? absl::OkStatus() : WriteError(errno, part);
}

}  // namespace

absl::Status CopyInOrder(const std::vector<ResultSource>& sources, const std::string& to,
                         const std::function<absl::Status(const DoneItem&)>& see) {
  std::vector<std::unique_ptr<Reader>> readers;
  for (const ResultSource& source : sources) {
    readers.push_back(std::make_unique<Reader>(source));
    TANDEM_RETURN_IF_ERROR(readers.back()->Open());
  }
  const std::string part = PartName(to);
  TANDEM_ASSIGN_OR_RETURN(const int fd, OpenRegular(part, O_WRONLY | O_CREAT | O_TRUNC));
  absl::Status status = Copy(readers, fd, part, see);
  close(fd);
  if (status.ok() && rename(part.c_str(), to.c_str()) != 0) status = WriteError(errno, to);
  if (!status.ok()) {
    unlink(part.c_str());  // it can be made again
    return status;
  }
  return SyncFolderOf(to);
}

}  // namespace tandem
