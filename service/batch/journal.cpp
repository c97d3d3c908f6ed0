#include "service/batch/journal.h"

#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "service/batch/sqlite.h"

namespace tandem {
namespace {

constexpr char kFormat[] = "1";  // of the tables

// On disk: DO NOT RENAME columns or keys.
constexpr char kTables[] =
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS done (item INTEGER PRIMARY KEY, position INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, checksum INTEGER NOT NULL, code TEXT);";

using Fields = std::vector<std::pair<std::string, std::string>>;

Fields FieldsOf(const JobIdentity& identity) {
  return {{"format", kFormat},
          {"input", identity.input_fingerprint},
          {"input_bytes", absl::StrCat(identity.input_bytes)},
          {"requests", absl::StrCat(identity.all_items)},
          {"shard", identity.shard.ToText()},
          {"ordered", identity.ordered ? "yes" : "no"},
          {"endpoint", identity.endpoint},
          {"model", identity.model},
          {"answered_by", identity.answered_by}};
}

std::string ValueOf(const std::map<std::string, std::string>& about, const std::string& key) {
  const auto found = about.find(key);
  return found == about.end() ? "" : found->second;
}

absl::Status CheckSame(const std::string& path, const JobIdentity& begun, const JobIdentity& now) {
  if (begun.input_fingerprint != now.input_fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the batch was begun with another input (", begun.input_bytes,
                     " bytes, now ", now.input_bytes, "); restore it, or choose another output"));
  }
  const Fields before = FieldsOf(begun), after = FieldsOf(now);
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i].second == after[i].second) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the batch was begun with ", before[i].first, " \"", before[i].second,
                     "\", now it is \"", after[i].second,
                     "\"; continue it as it was, or choose another output"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string JournalPath(const std::string& output_path) { return output_path + ".journal"; }

absl::Status Journal::Connect(const std::string& path, bool create) {
  path_ = path;
  const int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
  if (sqlite3_open_v2(path.c_str(), &db_, flags, nullptr) != SQLITE_OK)
    return SqliteError(db_, path);
  // The lock is taken by the first access and kept. Results are on the disk before they are noted,
  // so a power cut that takes the last notes (NORMAL) only makes a few requests run again.
  return Execute(db_, path,
                 "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                 "PRAGMA synchronous=NORMAL; BEGIN EXCLUSIVE; COMMIT;");
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path,
                                                       const JobIdentity& identity) {
  auto journal = std::unique_ptr<Journal>(new Journal());
  TANDEM_RETURN_IF_ERROR(journal->Connect(path, /*create=*/true));
  TANDEM_RETURN_IF_ERROR(Execute(journal->db_, path, kTables));
  TANDEM_RETURN_IF_ERROR(journal->ReadIdentity());
  if (journal->is_new_) {
    TANDEM_RETURN_IF_ERROR(journal->Begin(identity));
  } else {
    TANDEM_RETURN_IF_ERROR(CheckSame(path, journal->identity_, identity));
  }
  return journal;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::OpenExisting(const std::string& path) {
  if (access(path.c_str(), F_OK) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
  auto journal = std::unique_ptr<Journal>(new Journal());
  TANDEM_RETURN_IF_ERROR(journal->Connect(path, /*create=*/false));
  TANDEM_RETURN_IF_ERROR(journal->ReadIdentity());
  if (journal->is_new_) return absl::DataLossError(absl::StrCat(path, ": no batch was begun here"));
  return journal;
}

Journal::~Journal() {
  if (db_ != nullptr) sqlite3_close(db_);
}

absl::Status Journal::ReadIdentity() {
  std::map<std::string, std::string> about;
  {
    Statement read(db_, "SELECT key, value FROM about");
    for (;;) {
      TANDEM_ASSIGN_OR_RETURN(const bool more, read.Step(path_));
      if (!more) break;
      about[read.Text(0)] = read.Text(1);
    }
  }
  is_new_ = about.empty();
  if (is_new_) return absl::OkStatus();
  if (ValueOf(about, "format") != kFormat) {
    return absl::FailedPreconditionError(absl::StrCat(
        path_, ": its format is ", ValueOf(about, "format"), "; this program knows ", kFormat));
  }
  const auto shard = Shard::Parse(ValueOf(about, "shard"));
  const bool numbers = absl::SimpleAtoi(ValueOf(about, "input_bytes"), &identity_.input_bytes) &&
                       absl::SimpleAtoi(ValueOf(about, "requests"), &identity_.all_items);
  if (!shard.ok() || !numbers) return absl::DataLossError(absl::StrCat(path_, " is damaged"));
  identity_.input_fingerprint = ValueOf(about, "input");
  identity_.shard = *shard;
  identity_.ordered = ValueOf(about, "ordered") == "yes";
  identity_.endpoint = ValueOf(about, "endpoint");
  identity_.model = ValueOf(about, "model");
  identity_.answered_by = ValueOf(about, "answered_by");
  return absl::OkStatus();
}

absl::Status Journal::Begin(const JobIdentity& identity) {
  identity_ = identity;
  TANDEM_RETURN_IF_ERROR(Execute(db_, path_, "BEGIN"));
  for (const auto& [key, value] : FieldsOf(identity)) {
    Statement write(db_, "INSERT INTO about VALUES (?, ?)");
    write.Bind(1, key);
    write.Bind(2, value);
    TANDEM_RETURN_IF_ERROR(write.Step(path_).status());
  }
  return Execute(db_, path_, "COMMIT");
}

absl::Status Journal::Add(std::span<const DoneItem> done) {
  TANDEM_RETURN_IF_ERROR(Execute(db_, path_, "BEGIN"));
  absl::Status status = Insert(done);
  if (status.ok()) status = Execute(db_, path_, "COMMIT");
  if (!status.ok()) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  return status;
}

absl::Status Journal::Insert(std::span<const DoneItem> done) {
  Statement write(db_, "INSERT INTO done VALUES (?, ?, ?, ?, ?)");
  for (const DoneItem& item : done) {
    write.Bind(1, item.item);
    write.Bind(2, item.offset);
    write.Bind(3, item.bytes);
    write.Bind(4, static_cast<int64_t>(item.checksum));
    write.Bind(5, item.code);
    TANDEM_RETURN_IF_ERROR(write.Step(path_).status());
    write.Reset();
  }
  return absl::OkStatus();
}

absl::Status Journal::SetFinished() {
  return Execute(db_, path_, "INSERT OR REPLACE INTO about VALUES ('finished', 'yes')");
}

absl::StatusOr<bool> Journal::finished() const {
  Statement read(db_, "SELECT 1 FROM about WHERE key = 'finished'");
  return read.Step(path_);
}

absl::Status Journal::ForEach(By order,
                              const std::function<absl::Status(const DoneItem&)>& see) const {
  Cursor cursor(*this, order);
  for (;;) {
    TANDEM_ASSIGN_OR_RETURN(const auto item, cursor.Next());
    if (!item) return absl::OkStatus();
    TANDEM_RETURN_IF_ERROR(see(*item));
  }
}

Journal::Cursor::Cursor(const Journal& journal, By order)
    : path_(journal.path_),
      rows_(std::make_unique<Statement>(
          journal.db_, order == By::kItem
                           ? "SELECT item, position, bytes, checksum, code FROM done "
                             "ORDER BY item"
                           : "SELECT item, position, bytes, checksum, code FROM done "
                             "ORDER BY position")) {}
Journal::Cursor::~Cursor() = default;

absl::StatusOr<std::optional<DoneItem>> Journal::Cursor::Next() {
  TANDEM_ASSIGN_OR_RETURN(const bool more, rows_->Step(path_));
  if (!more) return std::nullopt;
  return DoneItem{.item = rows_->Int(0),
                  .offset = rows_->Int(1),
                  .bytes = rows_->Int(2),
                  .checksum = static_cast<uint64_t>(rows_->Int(3)),
                  .code = rows_->Text(4)};
}

}  // namespace tandem
