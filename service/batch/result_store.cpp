#include "service/batch/result_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/batch/line_hash.h"
#include "service/batch/ordered_copy.h"
#include "service/batch/whole_io.h"

namespace tandem {
namespace {

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

absl::Status NoJournal(const std::string& output_path) {
  return absl::AlreadyExistsError(absl::StrCat(
      output_path, " exists, and ", JournalPath(output_path),
      " does not: it is not the output of an unfinished batch; move it away, or choose another"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ResultStore>> ResultStore::Open(const std::string& output_path,
                                                               const JobIdentity& identity) {
  const std::string journal_path = JournalPath(output_path);
  if (!Exists(journal_path) && Exists(output_path)) return NoJournal(output_path);
  auto store = std::unique_ptr<ResultStore>(new ResultStore());
  store->output_path_ = output_path;
  store->results_path_ = identity.ordered ? absl::StrCat(output_path, ".unordered") : output_path;
  TANDEM_ASSIGN_OR_RETURN(store->journal_, Journal::Open(journal_path, identity));
  if (store->journal_->is_new() && Exists(output_path)) return NoJournal(output_path);
  TANDEM_RETURN_IF_ERROR(store->TakeUp());
  return store;
}

ResultStore::~ResultStore() {
  if (fd_ >= 0) close(fd_);
}

absl::Status ResultStore::TakeUp() {
  TANDEM_ASSIGN_OR_RETURN(was_finished_, journal_->finished());
  if (was_finished_ && !Exists(output_path_)) {
    return absl::DataLossError(absl::StrCat(output_path_,
                                            " is gone, though the batch was finished; remove ",
                                            JournalPath(output_path_), " to run it anew"));
  }
  if (was_finished_ && results_path_ != output_path_) {
    unlink(results_path_.c_str());  // whatever stopped Finish() from doing so
    return journal_->ForEach(Journal::By::kItem,
                             [this](const DoneItem& item) { return Count(item); });
  }
  const bool is_new = !Exists(results_path_);
  TANDEM_ASSIGN_OR_RETURN(fd_, OpenRegular(results_path_, O_RDWR | O_CREAT));
  if (is_new) TANDEM_RETURN_IF_ERROR(SyncFolderOf(results_path_));
  TANDEM_RETURN_IF_ERROR(CheckResults());
  // What was written and not noted, whole or torn.
  return ftruncate(fd_, end_) == 0 ? absl::OkStatus() : WriteError(errno, results_path_);
}

absl::Status ResultStore::CheckResults() {
  std::string text;
  return journal_->ForEach(Journal::By::kOffset, [&](const DoneItem& item) {
    text.resize(item.bytes);
    TANDEM_ASSIGN_OR_RETURN(const size_t n,
                            ReadUpTo(fd_, results_path_, item.offset, std::span(text)));
    if (item.offset != end_ || n < text.size() || LineHash(text) != item.checksum) {
      return absl::DataLossError(absl::StrCat(
          results_path_, " was changed: byte ", item.offset,
          " does not begin the result that its journal says; restore it, or remove both and run ",
          "the batch anew"));
    }
    end_ += item.bytes;
    return Count(item);
  });
}

absl::Status ResultStore::Count(const DoneItem& item) {
  done_items_.push_back(item.item);
  if (!item.code.empty()) ++done_by_code_[item.code];
  return absl::OkStatus();
}

absl::Status ResultStore::Append(std::span<const Result> results) {
  std::string block;
  std::vector<DoneItem> done;
  for (const Result& result : results) {
    const std::string& text = result.line.text;
    done.push_back({.item = result.item,
                    .offset = end_ + static_cast<int64_t>(block.size()),
                    .bytes = static_cast<int64_t>(text.size()),
                    .checksum = LineHash(text),
                    .code = result.line.code});
    block += text;
  }
  TANDEM_RETURN_IF_ERROR(WriteAll(fd_, results_path_, end_, block));
  if (fdatasync(fd_) != 0) return WriteError(errno, results_path_);
  TANDEM_RETURN_IF_ERROR(journal_->Add(done));
  end_ += static_cast<int64_t>(block.size());
  return absl::OkStatus();
}

absl::Status ResultStore::Finish() {
  if (was_finished_) return absl::OkStatus();
  if (results_path_ != output_path_) {
    TANDEM_RETURN_IF_ERROR(CopyInOrder({{journal_.get(), results_path_}}, output_path_,
                                       [](const DoneItem&) { return absl::OkStatus(); }));
  }
  TANDEM_RETURN_IF_ERROR(journal_->SetFinished());
  if (results_path_ != output_path_) unlink(results_path_.c_str());
  return absl::OkStatus();
}

}  // namespace tandem
