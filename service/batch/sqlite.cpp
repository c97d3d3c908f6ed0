#include "service/batch/sqlite.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "service/batch/whole_io.h"

namespace tandem {

absl::Status SqliteError(sqlite3* db, const std::string& path) {
  const std::string what = absl::StrCat(path, ": ", sqlite3_errmsg(db));
  switch (sqlite3_errcode(db)) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::AbortedError(
          absl::StrCat(path, ": another process is at work on this batch; wait until it ends"));
    case SQLITE_FULL:
      return WriteError(ENOSPC, path);
    case SQLITE_IOERR:  // a quota's, a file's limit, a disk that fails
      return absl::ResourceExhaustedError(absl::StrCat(
          what, "; what is done is kept: make room, or see to the disk, and run it again"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(what);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::PermissionDeniedError(what);
    default:
      return absl::UnknownError(what);
  }
}

Statement::Statement(sqlite3* db, const char* sql) : db_(db) {
  prepared_ = sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr);
}

void Statement::Bind(int place, int64_t value) { sqlite3_bind_int64(statement_, place, value); }

void Statement::Bind(int place, std::string_view text) {
  sqlite3_bind_text(statement_, place, text.data(), static_cast<int>(text.size()),
                    SQLITE_TRANSIENT);
}

absl::StatusOr<bool> Statement::Step(const std::string& path) {
  if (prepared_ != SQLITE_OK) return SqliteError(db_, path);
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return SqliteError(db_, path);
  }
}

std::string Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return text == nullptr ? "" : std::string(text, sqlite3_column_bytes(statement_, column));
}

absl::Status Execute(sqlite3* db, const std::string& path, const char* sql) {
  return sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK ? absl::OkStatus()
                                                                       : SqliteError(db, path);
}

}  // namespace tandem
