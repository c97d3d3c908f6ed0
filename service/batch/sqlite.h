// SQLite's handles, and its errors as ours.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace tandem {

// ABORTED: somebody else has the file. RESOURCE_EXHAUSTED: the disk is full. DATA_LOSS: it is
// damaged, or no SQLite file.
absl::Status SqliteError(sqlite3* db, const std::string& path);

// A prepared statement. REQUIRES: the SQL is right and the connection outlives it.
class Statement {
 public:
  Statement(sqlite3* db, const char* sql);
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  void Bind(int place, int64_t value);          // places count from 1
  void Bind(int place, std::string_view text);  // copied
  // True: there is a row. After the last row, and after every statement without rows: false.
  absl::StatusOr<bool> Step(const std::string& path);
  void Reset() { sqlite3_reset(statement_); }

  int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string Text(int column) const;

 private:
  sqlite3* const db_;
  sqlite3_stmt* statement_ = nullptr;
  int prepared_ = SQLITE_OK;
};

// Statements without parameters and rows.
absl::Status Execute(sqlite3* db, const std::string& path, const char* sql);

}  // namespace tandem
