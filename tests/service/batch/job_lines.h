// Inputs of batches for tests, and their results read back.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/engine_checkpoint/files.h"

namespace tandem {

// A completion of `prompt`.
inline std::string CompletionLine(const std::string& id, const std::string& prompt,
                                  int max_tokens = 64, const std::string& more = "") {
  const nlohmann::json text = prompt;
  return absl::StrCat(
      R"({"custom_id":")", id,
      R"(","method":"POST","url":"/v1/completions","body":{"model":"any","prompt":)", text.dump(),
      R"(,"max_tokens":)", max_tokens, more, "}}\n");
}

inline std::vector<std::string> LinesOf(const std::string& path) {
  std::vector<std::string> lines = absl::StrSplit(ReadFile(path), '\n');
  EXPECT_EQ(lines.back(), "") << "the last line ends";
  lines.pop_back();
  return lines;
}

// By custom_id; each may be there once.
inline std::map<std::string, nlohmann::json> ResultsOf(const std::string& path) {
  std::map<std::string, nlohmann::json> results;
  for (const std::string& line : LinesOf(path)) {
    nlohmann::json result = nlohmann::json::parse(line, nullptr, false);
    EXPECT_TRUE(result.is_object()) << line;
    const std::string id = result["custom_id"].is_string() ? result["custom_id"] : "";
    EXPECT_TRUE(results.emplace(id, result).second) << "twice: " << line;
  }
  return results;
}

}  // namespace tandem
