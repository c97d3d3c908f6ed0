#include "engine/checkpoint/json_file.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

// Watches a parse for what the parser itself accepts silently.
class Inspector {
 public:
  bool operator()(int depth, json::parse_event_t event, json& value) {
    using Event = json::parse_event_t;
    if (depth > kMaxDepth) problem_ = absl::StrCat("nested deeper than ", kMaxDepth);
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end && !keys_.empty()) keys_.pop_back();
    if (event == Event::key && !keys_.empty()) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) problem_ = "key " + Quoted(key) + " appears twice";
    }
    return problem_.empty();
  }
  const std::string& problem() const { return problem_; }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string problem_;
};

}  // namespace

std::string Quoted(const std::string& text) {
  constexpr size_t kMost = 120;
  if (text.size() <= kMost) return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMost)), "...\" (", text.size(),
                      " characters)");
}

absl::StatusOr<json> ParseJson(std::string_view text, const std::string& path) {
  // The parser would take it for the end.
  if (const size_t nul = text.find('\0'); nul != text.npos)
    return absl::InvalidArgumentError(absl::StrCat(path, " is not valid JSON at byte ", nul + 1));
  Inspector inspector;
  json value;
  try {
    value = json::parse(text.begin(), text.end(),
                        [&](int depth, json::parse_event_t event, json& parsed) {
                          return inspector(depth, event, parsed);
                        });
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not valid JSON: ", error.what()));
  }
  if (!inspector.problem().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", inspector.problem()));
  }
  return value;
}

absl::StatusOr<json> ReadJsonFile(const std::string& path, int64_t max_bytes) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return absl::NotFoundError(absl::StrCat("there is no file ", path));
  }
  if (!std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  const auto size = std::filesystem::file_size(path, error);
  if (error || static_cast<int64_t>(size) > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", size, " bytes, expected at most ", max_bytes));
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(size, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    return absl::UnavailableError(absl::StrCat("cannot read ", path));
  }
  return ParseJson(text, path);
}

}  // namespace tandem
