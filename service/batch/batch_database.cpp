#include "service/batch/batch_database.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "service/api/error_status.h"
#include "service/batch/sqlite.h"

namespace tandem {
namespace {

constexpr int64_t kFormat = 1;  // of the tables

// On disk: DO NOT RENAME. `number` is the order in which they came.
constexpr char kTables[] =
    "CREATE TABLE IF NOT EXISTS files (number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " expires_s INTEGER NOT NULL, ready INTEGER NOT NULL, record TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS files_by_owner ON files (owner, number);"
    "CREATE TABLE IF NOT EXISTS batches (number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, input_file TEXT NOT NULL,"
    " ended_s INTEGER NOT NULL, record TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS batches_by_owner ON batches (owner, number);"
    "CREATE INDEX IF NOT EXISTS batches_by_end ON batches (ended_s);"
    "CREATE TABLE IF NOT EXISTS flags (name TEXT PRIMARY KEY) WITHOUT ROWID;";

// Not 429: coming back soon does not help.
absl::Status TooMuch(const std::string& what) {
  absl::Status error = absl::ResourceExhaustedError(
      absl::StrCat(what, "; delete files that are no longer needed, or wait until they expire"));
  error.SetPayload(kHttpStatusPayload, absl::Cord("413"));
  return error;
}

template <class Record>
absl::StatusOr<std::vector<Record>> Records(const std::vector<std::string>& texts,
                                            absl::StatusOr<Record> (*read)(const std::string&)) {
  std::vector<Record> records;
  for (const std::string& text : texts) {
    TANDEM_ASSIGN_OR_RETURN(Record record, read(text));
    records.push_back(std::move(record));
  }
  return records;
}

template <class Record>
absl::StatusOr<std::optional<Record>> OneRecord(
    const std::vector<std::string>& texts, absl::StatusOr<Record> (*read)(const std::string&)) {
  if (texts.empty()) return std::nullopt;
  TANDEM_ASSIGN_OR_RETURN(Record record, read(texts.front()));
  return std::optional<Record>(std::move(record));
}

// One text more than the page holds says that there are more.
template <class Record>
absl::StatusOr<Page<Record>> PageFrom(std::vector<std::string> texts, int64_t limit,
                                      absl::StatusOr<Record> (*read)(const std::string&)) {
  Page<Record> page = {.records = {}, .has_more = std::ssize(texts) > limit};
  if (page.has_more) texts.pop_back();
  TANDEM_ASSIGN_OR_RETURN(page.records, Records(texts, read));
  return page;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BatchDatabase>> BatchDatabase::Open(const std::string& path) {
  auto database = std::unique_ptr<BatchDatabase>(new BatchDatabase());
  const absl::Status connected = database->Connect(path);
  if (absl::IsAborted(connected))
    return absl::AbortedError(absl::StrCat(path, " is in use by another server"));
  TANDEM_RETURN_IF_ERROR(connected);
  return database;
}

BatchDatabase::~BatchDatabase() {
  if (db_ != nullptr) sqlite3_close(db_);
}

absl::Status BatchDatabase::Connect(const std::string& path) {
  path_ = path;
  if (sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr) !=
      SQLITE_OK) {
    return SqliteError(db_, path);
  }
  // The lock is taken by the first access and kept.
  TANDEM_RETURN_IF_ERROR(Execute(db_, path,
                                 "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                                 "PRAGMA synchronous=FULL; BEGIN EXCLUSIVE; COMMIT;"));
  TANDEM_ASSIGN_OR_RETURN(const int64_t format, Number("PRAGMA user_version", {}));
  if (format > kFormat) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": its format is ", format, "; this program knows formats up to ", kFormat));
  }
  TANDEM_RETURN_IF_ERROR(Execute(db_, path, kTables));
  return Execute(db_, path, absl::StrCat("PRAGMA user_version=", kFormat).c_str());
}

absl::Status BatchDatabase::Do(const std::string& sql, const Values& values, const See& see) {
  Statement statement(db_, sql.c_str());
  int place = 0;
  for (const Value& value : values)
    std::visit([&](const auto& bound) { statement.Bind(++place, bound); }, value);
  for (;;) {
    TANDEM_ASSIGN_OR_RETURN(const bool row, statement.Step(path_));
    if (!row) return absl::OkStatus();
    if (see) TANDEM_RETURN_IF_ERROR(see(statement));
  }
}

absl::StatusOr<std::vector<std::string>> BatchDatabase::Texts(const std::string& sql,
                                                              const Values& values) {
  std::vector<std::string> texts;
  TANDEM_RETURN_IF_ERROR(Do(sql, values, [&](const Statement& row) {
    texts.push_back(row.Text(0));
    return absl::OkStatus();
  }));
  return texts;
}

absl::StatusOr<int64_t> BatchDatabase::Number(const std::string& sql, const Values& values) {
  int64_t number = 0;
  TANDEM_RETURN_IF_ERROR(Do(sql, values, [&](const Statement& row) {
    number = row.Int(0);
    return absl::OkStatus();
  }));
  return number;
}

absl::Status BatchDatabase::Atomically(const std::function<absl::Status()>& work) {
  TANDEM_RETURN_IF_ERROR(Execute(db_, path_, "BEGIN"));
  absl::Status status = work();
  if (status.ok()) status = Execute(db_, path_, "COMMIT");
  if (!status.ok()) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  return status;
}

absl::Status BatchDatabase::PutFile(const FileRecord& file, bool ready) {
  return Do(
      "INSERT INTO files (id, owner, purpose, bytes, expires_s, ready, record)"
      " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
      " bytes = excluded.bytes, ready = excluded.ready, record = excluded.record",
      {file.id, file.owner, file.purpose, file.bytes, file.expires_s, int64_t{ready},
       ToText(file)});
}

absl::Status BatchDatabase::CheckRoom(const FileRecord& file, const BatchLimits& limits) {
  int64_t files = 0, bytes = 0;
  TANDEM_RETURN_IF_ERROR(Do("SELECT COUNT(*), SUM(bytes) FROM files WHERE owner = ? AND id <> ?",
                            {file.owner, file.id}, [&](const Statement& row) {
                              files = row.Int(0);
                              bytes = row.Int(1);
                              return absl::OkStatus();
                            }));
  if (files >= limits.max_key_files) {
    return TooMuch(
        absl::StrCat("this key has ", files, " files; expected at most ", limits.max_key_files));
  }
  if (bytes + file.bytes > limits.max_key_bytes) {
    return TooMuch(absl::StrCat("with this file the key's would have ", bytes + file.bytes,
                                " bytes; expected at most ", limits.max_key_bytes));
  }
  TANDEM_ASSIGN_OR_RETURN(bytes, Number("SELECT SUM(bytes) FROM files WHERE id <> ?", {file.id}));
  if (bytes + file.bytes <= limits.max_all_bytes) return absl::OkStatus();
  return TooMuch("the server's room for files is used up");
}

absl::Status BatchDatabase::ReserveFile(const FileRecord& file, const BatchLimits& limits) {
  std::lock_guard lock(mutex_);
  return Atomically([&]() -> absl::Status {
    TANDEM_RETURN_IF_ERROR(CheckRoom(file, limits));
    return PutFile(file, /*ready=*/false);
  });
}

absl::Status BatchDatabase::SetReady(const FileRecord& file) {
  std::lock_guard lock(mutex_);
  return PutFile(file, /*ready=*/true);
}

absl::StatusOr<std::optional<FileRecord>> BatchDatabase::FindFile(const std::string& id) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(const auto texts,
                          Texts("SELECT record FROM files WHERE id = ? AND ready = 1", {id}));
  return OneRecord(texts, FileFromText);
}

absl::StatusOr<std::vector<std::string>> BatchDatabase::ListTexts(const std::string& table,
                                                                  const std::string& where,
                                                                  Values values,
                                                                  const PageArgs& page) {
  std::string sql = absl::StrCat("SELECT record FROM ", table, " WHERE ", where);
  if (!page.after.empty()) {
    Values with_id = values;
    with_id.emplace_back(page.after);
    TANDEM_ASSIGN_OR_RETURN(
        const int64_t number,
        Number(absl::StrCat("SELECT number FROM ", table, " WHERE ", where, " AND id = ?"),
               with_id));
    if (number == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("after is \"", absl::Utf8SafeCHexEscape(page.after.substr(0, 64)),
                       "\"; expected an id of this list"));
    }
    absl::StrAppend(&sql, page.ascending ? " AND number > ?" : " AND number < ?");
    values.emplace_back(number);
  }
  absl::StrAppend(&sql, " ORDER BY number ", page.ascending ? "ASC" : "DESC", " LIMIT ?");
  values.emplace_back(page.limit + 1);
  return Texts(sql, values);
}

absl::StatusOr<Page<FileRecord>> BatchDatabase::ListFiles(const std::string& owner,
                                                          const std::string& purpose,
                                                          const PageArgs& page) {
  std::lock_guard lock(mutex_);
  std::string where = "owner = ? AND ready = 1";
  Values values = {owner};
  if (!purpose.empty()) {
    where += " AND purpose = ?";
    values.emplace_back(purpose);
  }
  TANDEM_ASSIGN_OR_RETURN(auto texts, ListTexts("files", where, std::move(values), page));
  return PageFrom(std::move(texts), page.limit, FileFromText);
}

absl::Status BatchDatabase::RemoveFile(const std::string& id) {
  std::lock_guard lock(mutex_);
  return Do("DELETE FROM files WHERE id = ?", {id});
}

absl::Status BatchDatabase::RemoveUnready() {
  std::lock_guard lock(mutex_);
  return Do("DELETE FROM files WHERE ready = 0", {});
}

absl::StatusOr<std::vector<FileRecord>> BatchDatabase::ExpiredFiles(int64_t now_s) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(
      const auto texts,
      Texts("SELECT record FROM files WHERE ready = 1 AND expires_s <= ? AND id NOT IN"
            " (SELECT input_file FROM batches WHERE ended_s = 0)",
            {now_s}));
  return Records(texts, FileFromText);
}

absl::StatusOr<std::optional<std::string>> BatchDatabase::OpenBatchOfFile(const std::string& file) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(
      const auto ids, Texts("SELECT id FROM batches WHERE input_file = ? AND ended_s = 0", {file}));
  return ids.empty() ? std::nullopt : std::optional<std::string>(ids.front());
}

absl::Status BatchDatabase::AddBatch(const BatchRecord& batch, const BatchLimits& limits) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(
      const int64_t open,
      Number("SELECT COUNT(*) FROM batches WHERE owner = ? AND ended_s = 0", {batch.owner}));
  if (open >= limits.max_key_batches) {
    return absl::ResourceExhaustedError(absl::StrCat("this key has ", open,
                                                     " batches that have not ended; expected at "
                                                     "most ",
                                                     limits.max_key_batches));
  }
  return Do("INSERT INTO batches (id, owner, input_file, ended_s, record) VALUES (?, ?, ?, ?, ?)",
            {batch.id, batch.owner, batch.input_file, batch.ended_s(), ToText(batch)});
}

absl::Status BatchDatabase::UpdateBatch(const BatchRecord& batch,
                                        const std::vector<FileRecord>& results) {
  std::lock_guard lock(mutex_);
  return Atomically([&]() -> absl::Status {
    for (const FileRecord& file : results) TANDEM_RETURN_IF_ERROR(PutFile(file, /*ready=*/true));
    return Do("UPDATE batches SET ended_s = ?, record = ? WHERE id = ?",
              {batch.ended_s(), ToText(batch), batch.id});
  });
}

absl::StatusOr<std::optional<BatchRecord>> BatchDatabase::FindBatch(const std::string& id) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(const auto texts, Texts("SELECT record FROM batches WHERE id = ?", {id}));
  return OneRecord(texts, BatchFromText);
}

absl::StatusOr<Page<BatchRecord>> BatchDatabase::ListBatches(
    const std::optional<std::string>& owner, const PageArgs& page) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(auto texts, ListTexts("batches", owner ? "owner = ?" : "1",
                                                owner ? Values{*owner} : Values{}, page));
  return PageFrom(std::move(texts), page.limit, BatchFromText);
}

absl::StatusOr<std::vector<BatchRecord>> BatchDatabase::OpenBatches() {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(
      const auto texts, Texts("SELECT record FROM batches WHERE ended_s = 0 ORDER BY number", {}));
  return Records(texts, BatchFromText);
}

absl::StatusOr<std::vector<BatchRecord>> BatchDatabase::BatchesEndedBefore(int64_t time_s) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(
      const auto texts,
      Texts("SELECT record FROM batches WHERE ended_s > 0 AND ended_s < ?", {time_s}));
  return Records(texts, BatchFromText);
}

absl::Status BatchDatabase::RemoveBatch(const std::string& id) {
  std::lock_guard lock(mutex_);
  return Do("DELETE FROM batches WHERE id = ?", {id});
}

absl::StatusOr<bool> BatchDatabase::Flag(const std::string& name) {
  std::lock_guard lock(mutex_);
  TANDEM_ASSIGN_OR_RETURN(const int64_t there,
                          Number("SELECT COUNT(*) FROM flags WHERE name = ?", {name}));
  return there > 0;
}

absl::Status BatchDatabase::SetFlag(const std::string& name, bool value) {
  std::lock_guard lock(mutex_);
  return Do(value ? "INSERT OR IGNORE INTO flags VALUES (?)" : "DELETE FROM flags WHERE name = ?",
            {name});
}

}  // namespace tandem
